-- unclean_election: where no replica is left that holds all that is committed, one that may lack
-- some of it may lead.
ALTER TABLE topic_generations ADD COLUMN unclean_election BIGINT NOT NULL DEFAULT 0
    CHECK (unclean_election IN (0, 1));
-- unclean_leader_epoch: the newest leader epoch that was given to such a replica; 0: none ever was.
ALTER TABLE partitions ADD COLUMN unclean_leader_epoch BIGINT NOT NULL DEFAULT 0;

-- What such elections may have cost: written with the election, never changed, gone with the
-- partition. high_watermark, log_end, last_epoch: of the new leader, as it had reported them;
-- whatever was committed at or above high_watermark may be lost. given_up: the replicas that were
-- in sync or eligible, with what was known of each, JSON.
CREATE TABLE partition_cuts (
    org_id           TEXT COLLATE "C" NOT NULL,
    cluster_id       TEXT COLLATE "C" NOT NULL,
    generation_id    TEXT COLLATE "C" NOT NULL,
    idx              BIGINT NOT NULL,
    leader_epoch     BIGINT NOT NULL,
    at_unix_ms       BIGINT NOT NULL,
    leader_spu_id    BIGINT NOT NULL,
    high_watermark   BIGINT NOT NULL,
    log_end          BIGINT NOT NULL,
    last_epoch       BIGINT,
    old_leader_epoch BIGINT NOT NULL,
    given_up         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, cluster_id, generation_id, idx, leader_epoch),
    FOREIGN KEY (org_id, cluster_id, generation_id, idx)
        REFERENCES partitions (org_id, cluster_id, generation_id, idx) ON DELETE CASCADE
);

-- boot_id: in which boot of its machine the SPU registered last. Another one may have lost what no
-- fsync had covered. NULL: it did not say.
ALTER TABLE spus ADD COLUMN boot_id TEXT COLLATE "C";
