//! The maintenance windows in memory, so that a reply about five hundred monitors asks no database.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use systole_core::maintenance::Windows;
use systole_store::{DEFAULT_PROJECT, Error, Store};

/// See the module.
#[derive(Default)]
pub struct Maintenances {
    windows: RwLock<HashMap<i64, Arc<Windows>>>,
    /// One reload at a time: what is read last is what stays.
    reloading: tokio::sync::Mutex<()>,
}

impl Maintenances {
    /// As they are stored.
    ///
    /// # Errors
    /// What the database says.
    pub async fn load(store: &Store) -> Result<Maintenances, Error> {
        let maintenances = Maintenances::default();
        maintenances.reload(store, DEFAULT_PROJECT).await?;
        Ok(maintenances)
    }

    /// Reads them again, after one was changed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reload(&self, store: &Store, project: i64) -> Result<(), Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let rows = store.maintenances(project).await?;
        let windows = Windows::new(rows.into_iter().map(|row| row.fields.window).collect());
        self.windows
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(project, Arc::new(windows));
        Ok(())
    }

    /// Those of a project.
    pub fn of(&self, project: i64) -> Arc<Windows> {
        let windows = self
            .windows
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        windows.get(&project).map(Arc::clone).unwrap_or_default()
    }
}
