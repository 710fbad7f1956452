-- A database that went back: what SPUs have seen is ahead of it. See control-plane/src/plan/history.rs.

-- frozen_reason: why nothing is decided about the cluster until it was recovered. NULL: it is not.
-- restore_number: how often the cluster was recovered. It comes on top of the database's own.
ALTER TABLE clusters ADD COLUMN frozen_reason TEXT;
ALTER TABLE clusters ADD COLUMN frozen_at_unix_ms BIGINT;
ALTER TABLE clusters ADD COLUMN restore_number BIGINT NOT NULL DEFAULT 0;

-- recovering: who leads it is yet to be found out from the logs of its replicas. Those that are
-- in sync by their rows are the ones that must be heard for that.
ALTER TABLE partitions ADD COLUMN recovering BIGINT NOT NULL DEFAULT 0 CHECK (recovering IN (0, 1));
CREATE INDEX partitions_recovering ON partitions (org_id, cluster_id) WHERE recovering = 1;

-- What each SPU has seen, as it said since its cluster was frozen. No reference to spus: the
-- database may not know it. held: JSON, the replicas in its folder.
CREATE TABLE spu_reports (
    org_id             TEXT   NOT NULL,
    cluster_id         TEXT   NOT NULL,
    spu_id             BIGINT NOT NULL,
    launch_id          TEXT   NOT NULL,
    secret_hash        TEXT   NOT NULL,
    folder_id          TEXT   NOT NULL,
    database_id        TEXT,
    restore_number     BIGINT NOT NULL,
    revision           BIGINT NOT NULL,
    producer_id        BIGINT NOT NULL,
    leader_epoch       BIGINT NOT NULL,
    partition_epoch    BIGINT NOT NULL,
    incarnation        BIGINT NOT NULL,
    held               TEXT   NOT NULL,
    heard_at_unix_ms   BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, spu_id),
    FOREIGN KEY (org_id, cluster_id) REFERENCES clusters (org_id, cluster_id) ON DELETE CASCADE
);

-- Histories of other databases that a recovery took in: SPUs that come from them are welcome.
CREATE TABLE cluster_histories (
    org_id             TEXT   NOT NULL,
    cluster_id         TEXT   NOT NULL,
    database_id        TEXT   NOT NULL,
    restore_number     BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, database_id),
    FOREIGN KEY (org_id, cluster_id) REFERENCES clusters (org_id, cluster_id) ON DELETE CASCADE
);
