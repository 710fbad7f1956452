-- How the records of a generation are kept. One that is there already keeps everything, as
-- it did until now. NULL: each batch is fsynced before it is acknowledged; age or size
-- removes nothing; age closes no segment.
ALTER TABLE topic_generations ADD COLUMN flush_interval_ms BIGINT;
ALTER TABLE topic_generations ADD COLUMN retention_ms BIGINT;
ALTER TABLE topic_generations ADD COLUMN retention_bytes BIGINT;
ALTER TABLE topic_generations ADD COLUMN segment_bytes BIGINT NOT NULL DEFAULT 1073741824;
ALTER TABLE topic_generations ADD COLUMN segment_ms BIGINT;
