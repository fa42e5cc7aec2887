//! Why a delivery is sent now, as it is stored.

use serde::{Deserialize, Serialize};
use systole_core::message::Occasion;

use crate::Error;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Document {
    Reminder { number: u32 },
    MaintenanceOver { window: String },
    DeliveryDead { channel: String, detail: String },
}

/// The text of an occasion; `None` where the event itself is it.
pub(crate) fn occasion_text(occasion: &Occasion) -> Result<Option<String>, Error> {
    let document = match occasion {
        Occasion::Event => return Ok(None),
        Occasion::Reminder { number } => Document::Reminder { number: *number },
        Occasion::MaintenanceOver { window } => Document::MaintenanceOver {
            window: window.clone(),
        },
        Occasion::DeliveryDead { channel, detail } => Document::DeliveryDead {
            channel: channel.clone(),
            detail: detail.clone(),
        },
    };
    serde_json::to_string(&document)
        .map(Some)
        .map_err(|_| Error::Corrupt("an occasion cannot be written"))
}

/// Reads what [`occasion_text`] made.
pub(crate) fn read_occasion(text: Option<&str>) -> Result<Occasion, Error> {
    let Some(text) = text else {
        return Ok(Occasion::Event);
    };
    let document = serde_json::from_str(text)
        .map_err(|_| Error::Corrupt("a delivery's occasion cannot be read"))?;
    Ok(match document {
        Document::Reminder { number } => Occasion::Reminder { number },
        Document::MaintenanceOver { window } => Occasion::MaintenanceOver { window },
        Document::DeliveryDead { channel, detail } => Occasion::DeliveryDead { channel, detail },
    })
}
