-- external: not started by the provisioner. Somebody runs it elsewhere, with the secret that its
-- registration was answered with; nothing starts, stops or removes its process and its data.
ALTER TABLE spus ADD COLUMN external BIGINT NOT NULL DEFAULT 0 CHECK (external IN (0, 1));
