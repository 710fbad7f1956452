-- min_insync_replicas: fewer replicas in sync than this commit nothing. NULL: the lesser of 2
-- and the number of replicas.
ALTER TABLE topic_generations ADD COLUMN min_insync_replicas BIGINT;
-- eligible: not in sync, and yet may lead: it left the in-sync replicas when they became fewer
-- than commit, so it holds all that is committed.
ALTER TABLE replicas ADD COLUMN eligible BIGINT NOT NULL DEFAULT 0 CHECK (eligible IN (0, 1));
