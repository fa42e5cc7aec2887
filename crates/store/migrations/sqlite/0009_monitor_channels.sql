-- The lists of channels that monitors name are few, where monitors may be a million: those that lead to nobody are looked for with each page.
CREATE INDEX monitor_channels ON monitor (project_id, channels);
