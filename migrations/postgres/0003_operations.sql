-- Operations: what was ordered of a cluster, how far it has come, how it ended. And what an
-- SPU's way out of its cluster needs.

-- No reference to clusters: an operation is readable after its cluster is gone.
-- target, steps, error: JSON.
CREATE TABLE operations (
    org_id             TEXT COLLATE "C"   NOT NULL REFERENCES orgs (org_id),
    operation_id       TEXT COLLATE "C"   NOT NULL,
    cluster_id         TEXT COLLATE "C"   NOT NULL,
    cluster_name       TEXT COLLATE "C"   NOT NULL,
    kind               TEXT COLLATE "C"   NOT NULL,
    state              TEXT COLLATE "C"   NOT NULL,
    target             TEXT COLLATE "C"   NOT NULL,
    steps              TEXT COLLATE "C"   NOT NULL,
    progress_done      BIGINT NOT NULL,
    progress_total     BIGINT NOT NULL,
    error              TEXT COLLATE "C",
    actor              TEXT COLLATE "C"   NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    updated_at_unix_ms BIGINT NOT NULL,
    ended_at_unix_ms   BIGINT,
    PRIMARY KEY (org_id, operation_id)
);
CREATE INDEX operations_by_cluster ON operations (org_id, cluster_id, operation_id);
CREATE INDEX operations_by_end ON operations (ended_at_unix_ms);

-- leaving: it is to be removed once no replica is left on it.
-- destroyed: it was removed, and its data folder is gone too.
-- port: where its port is not the one that follows from its id.
ALTER TABLE spus ADD COLUMN leaving BIGINT NOT NULL DEFAULT 0 CHECK (leaving IN (0, 1));
ALTER TABLE spus ADD COLUMN destroyed BIGINT NOT NULL DEFAULT 0 CHECK (destroyed IN (0, 1));
ALTER TABLE spus ADD COLUMN port BIGINT;
