//! Bodies of requests to the management API: JSON, read as each of the types that a person can send.

use std::fmt::Debug;

use serde::Serialize;
use serde_json::Value;
use systole_core::time::Time;
use systole_server::api::{Channels, Written, is_same, schedules};
use systole_wire::strict::{self, Read};
use systole_wire::{
    AcknowledgeInput, ChannelInput, ChannelPatch, FieldError, MonitorInput, MonitorPatch,
    MonitorsInput, NoteInput, RotateTokenInput, SchedulePreviewInput, TokenInput,
};

use super::{NOW, is_said};

pub fn run(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    check::<MonitorPatch>(&value);
    check::<MonitorsInput>(&value);
    check::<ChannelInput>(&value);
    check::<ChannelPatch>(&value);
    check::<TokenInput>(&value);
    check::<RotateTokenInput>(&value);
    check::<AcknowledgeInput>(&value);
    check::<NoteInput>(&value);
    if let Some(MonitorInput::Heartbeat(heartbeat)) = check::<MonitorInput>(&value) {
        stored(Written {
            common: heartbeat.common,
            spec: heartbeat.spec,
        });
    }
    if let Some(asked) = check::<SchedulePreviewInput>(&value) {
        preview(&asked);
    }
}

/// What is read can be written and read again; what is not is told field by field.
fn check<T: Read + Serialize + PartialEq + Debug>(value: &Value) -> Option<T> {
    match strict::from_value::<T>(value.clone()) {
        Ok(read) => {
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(
                strict::from_value::<T>(written).as_ref(),
                Ok(&read),
                "written and read again"
            );
            Some(read)
        }
        Err(errors) => {
            are_said(&errors);
            None
        }
    }
}

fn are_said(errors: &[FieldError]) {
    assert!(
        !errors.is_empty() && errors.len() <= 50,
        "{} errors",
        errors.len()
    );
    for error in errors {
        is_said(&error.message, 3_000);
        assert!(
            error.field.len() <= 1_000,
            "{} is no name of a field",
            error.field
        );
    }
}

/// What is stored is shown in words that mean the same.
fn stored(written: Written) {
    let channels = Channels(Vec::new());
    match written.fields(&channels) {
        Ok(fields) => {
            let again = Written::of(&fields, &channels).fields(&channels).unwrap();
            assert!(is_same(&again, &fields), "{fields:?} became {again:?}");
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in &errors {
                is_said(&error.message, 3_000);
                assert!(!error.field.is_empty(), "{} has no field", error.message);
            }
        }
    }
}

fn preview(asked: &SchedulePreviewInput) {
    let Ok(preview) = schedules::preview(NOW, asked) else {
        return;
    };
    assert!(preview.next.len() <= 100);
    let slots: Vec<Time> = preview
        .next
        .iter()
        .map(|slot| Time::parse(slot).unwrap())
        .collect();
    assert!(slots.is_sorted() && slots.windows(2).all(|pair| pair[0] < pair[1]));
    is_said(&preview.description, 4_000);
}
