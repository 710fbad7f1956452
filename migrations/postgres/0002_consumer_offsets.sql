-- What named consumers have committed, as the coordinators of their offsets reported it last.
-- The offsets topic is the truth; this serves lag and people.
--
-- idx: of the partition that was read. position: offset in the offsets topic of the record
-- that says so, the order of changes. next_offset: the next one to read; none: claimed, and
-- nothing committed yet. deleted: forgotten; the row keeps the position for a while, so that
-- a late repetition cannot bring the offset back.
CREATE TABLE consumer_offsets (
    org_id               TEXT COLLATE "C"   NOT NULL,
    cluster_id           TEXT COLLATE "C"   NOT NULL,
    consumer             TEXT COLLATE "C"   NOT NULL,
    generation_id        TEXT COLLATE "C"   NOT NULL,
    idx                  BIGINT NOT NULL,
    position             BIGINT NOT NULL,
    deleted              BIGINT NOT NULL CHECK (deleted IN (0, 1)),
    next_offset          BIGINT,
    leader_epoch         BIGINT,
    metadata             TEXT COLLATE "C"   NOT NULL,
    committed_at_unix_ms BIGINT NOT NULL,
    stored_at_unix_ms    BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, consumer, generation_id, idx),
    FOREIGN KEY (org_id, cluster_id, generation_id)
        REFERENCES topic_generations (org_id, cluster_id, generation_id) ON DELETE CASCADE
);
-- For the purge of a generation.
CREATE INDEX consumer_offsets_by_generation
    ON consumer_offsets (org_id, cluster_id, generation_id);
