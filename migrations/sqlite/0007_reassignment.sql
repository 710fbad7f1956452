-- Reassignment: a partition's replicas are to be others, and it is served meanwhile.
-- target: who is to hold it, JSON, the first preferred as its leader. NULL: it stays as it is.
-- original: who held it when that was asked for, JSON: what a cancellation goes back to.
-- moving: those of the target are among its replicas by now; 0: it waits for its turn.
ALTER TABLE partitions ADD COLUMN target TEXT;
ALTER TABLE partitions ADD COLUMN original TEXT;
ALTER TABLE partitions ADD COLUMN moving BIGINT NOT NULL DEFAULT 0 CHECK (moving IN (0, 1));
CREATE INDEX partitions_reassigned ON partitions (org_id, cluster_id, moving)
    WHERE target IS NOT NULL;

-- Replicas that their partition does without: the SPU is ordered to remove each, until it
-- confirms or is gone for good. partition_epoch: the first that does not name the replica.
CREATE TABLE replica_removals (
    org_id             TEXT   NOT NULL,
    cluster_id         TEXT   NOT NULL,
    generation_id      TEXT   NOT NULL,
    idx                BIGINT NOT NULL,
    spu_id             BIGINT NOT NULL,
    partition_epoch    BIGINT NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, generation_id, idx, spu_id),
    FOREIGN KEY (org_id, cluster_id, generation_id, idx)
        REFERENCES partitions (org_id, cluster_id, generation_id, idx) ON DELETE CASCADE,
    FOREIGN KEY (org_id, cluster_id, spu_id) REFERENCES spus (org_id, cluster_id, spu_id)
        ON DELETE CASCADE
);
CREATE INDEX replica_removals_by_spu ON replica_removals (org_id, cluster_id, spu_id);

-- rack: what fails together, as the SPU says when it registers. NULL: it does not say.
ALTER TABLE spus ADD COLUMN rack TEXT;
