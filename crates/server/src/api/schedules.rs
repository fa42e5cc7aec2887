//! What a schedule means, before anybody relies on it.

use systole_core::time::Time;
use systole_wire::{FieldError, SchedulePreview, SchedulePreviewInput};

use super::{ApiError, fields, monitor_reply};

/// Slots where nothing is said.
const COUNT: u32 = 5;

/// The next slots, the schedule in words, and what may surprise.
///
/// # Errors
/// Wrong fields.
pub fn preview(now: Time, input: &SchedulePreviewInput) -> Result<SchedulePreview, ApiError> {
    let mut errors = Vec::new();
    let after = input.after.as_deref().map(Time::parse).transpose();
    let after = after
        .map_err(|message| errors.push(FieldError::new("after", message)))
        .ok()
        .flatten();
    let schedule = fields::schedule(&input.schedule, &mut errors);
    let Some(schedule) = schedule.filter(|_| errors.is_empty()) else {
        return Err(ApiError::invalid(errors));
    };
    let after = after.unwrap_or(now);
    let slots = std::iter::successors(schedule.next_after(after), |slot| {
        schedule.next_after(*slot)
    });
    let count = input.count.unwrap_or(COUNT) as usize;
    Ok(SchedulePreview {
        next: slots.take(count).map(|slot| slot.to_string()).collect(),
        description: schedule.describe(),
        warnings: monitor_reply::schedule_warnings(&schedule, after).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn previewed(value: serde_json::Value) -> Result<SchedulePreview, ApiError> {
        let now = Time::parse("2026-11-21T10:00:00Z").unwrap();
        preview(now, &systole_wire::strict::from_value(value).unwrap())
    }

    #[test]
    fn slots_follow_each_other_in_utc() {
        let preview = previewed(
            json!({"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}, "count": 2}),
        )
        .unwrap();
        assert_eq!(
            preview.next,
            ["2026-11-22T01:00:00Z", "2026-11-23T01:00:00Z"]
        );
        assert_eq!(preview.description, "at 02:00 every day, Europe/Berlin");
        assert_eq!(
            preview.warnings.len(),
            2,
            "02:00 is skipped once a year and repeated once: {:?}",
            preview.warnings
        );
        let after = "2027-01-01T00:00:00Z";
        let preview = previewed(json!({"schedule": {"every": "6h"}, "after": after})).unwrap();
        assert_eq!(
            (preview.next.len(), preview.next[0].as_str()),
            (5, "2027-01-01T06:00:00Z")
        );
    }

    #[test]
    fn both_a_wrong_schedule_and_a_wrong_time_are_named() {
        let error =
            previewed(json!({"schedule": {"cron": "61 * * * *"}, "after": "soon"})).unwrap_err();
        let fields: Vec<&str> = error
            .problem()
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!(fields, ["after", "schedule.cron"]);
    }
}
