-- The control plane's tables. Forward only: once released, this file never changes.
--
-- Rules, the same for SQLite and Postgres: BIGINT for numbers, times (milliseconds since
-- 1970) and booleans (0, 1); TEXT for ids and JSON; no defaults that need a clock or
-- randomness; every key of a tenant's row begins with org_id. In Postgres TEXT is compared
-- by its bytes (COLLATE "C"), as it is in SQLite.

-- One row: which history this database is.
CREATE TABLE meta (
    singleton          BIGINT NOT NULL PRIMARY KEY CHECK (singleton = 1),
    database_id        TEXT COLLATE "C" NOT NULL,
    restore_number     BIGINT NOT NULL,
    pepper             TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL
);

-- Ed25519 keys that data-plane tokens are signed with. Retired ones still verify.
CREATE TABLE signing_keys (
    key_id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seed               TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    retired_at_unix_ms BIGINT
);

CREATE TABLE orgs (
    org_id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name               TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at_unix_ms BIGINT NOT NULL
);

CREATE TABLE api_keys (
    org_id             TEXT COLLATE "C" NOT NULL REFERENCES orgs (org_id),
    key_id             TEXT COLLATE "C" NOT NULL UNIQUE,
    name               TEXT COLLATE "C" NOT NULL,
    scopes             TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    expires_at_unix_ms BIGINT,
    revoked_at_unix_ms BIGINT,
    PRIMARY KEY (org_id, key_id)
);

-- Two slots, so that a secret can be replaced while the old one is still in use.
CREATE TABLE api_key_secrets (
    org_id             TEXT COLLATE "C" NOT NULL,
    key_id             TEXT COLLATE "C" NOT NULL,
    slot               BIGINT NOT NULL CHECK (slot IN (1, 2)),
    secret_hash        TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    expires_at_unix_ms BIGINT,
    PRIMARY KEY (org_id, key_id, slot),
    FOREIGN KEY (org_id, key_id) REFERENCES api_keys (org_id, key_id) ON DELETE CASCADE
);

-- last_revision: the locked counter that orders everything watchers see.
-- last_spu_id, next_producer_id: never given out twice.
-- ports_from: first port of its SPUs where the spec leaves the choice to us.
CREATE TABLE clusters (
    org_id             TEXT COLLATE "C" NOT NULL REFERENCES orgs (org_id),
    cluster_id         TEXT COLLATE "C" NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    desired            TEXT COLLATE "C" NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    reason             TEXT COLLATE "C",
    spec               TEXT COLLATE "C" NOT NULL,
    last_revision      BIGINT NOT NULL,
    last_spu_id        BIGINT NOT NULL,
    next_producer_id   BIGINT NOT NULL,
    ports_from         BIGINT,
    created_at_unix_ms BIGINT NOT NULL,
    updated_at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id),
    UNIQUE (org_id, name)
);

CREATE TABLE spus (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    spu_id             BIGINT NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    reason             TEXT COLLATE "C",
    removed            BIGINT NOT NULL CHECK (removed IN (0, 1)),
    endpoint           TEXT COLLATE "C",
    folder_id          TEXT COLLATE "C",
    incarnation        BIGINT NOT NULL,
    process_id         TEXT COLLATE "C",
    launch_id          TEXT COLLATE "C",
    restarts           BIGINT NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    updated_at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, spu_id),
    FOREIGN KEY (org_id, cluster_id) REFERENCES clusters (org_id, cluster_id) ON DELETE CASCADE
);

-- handle: what the provisioner needs to find the launch again, JSON of its own.
CREATE TABLE launches (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    launch_id          TEXT COLLATE "C" NOT NULL,
    spu_id             BIGINT NOT NULL,
    secret_hash        TEXT COLLATE "C" NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    handle             TEXT COLLATE "C",
    reason             TEXT COLLATE "C",
    created_at_unix_ms BIGINT NOT NULL,
    ended_at_unix_ms   BIGINT,
    PRIMARY KEY (org_id, cluster_id, launch_id),
    FOREIGN KEY (org_id, cluster_id, spu_id)
        REFERENCES spus (org_id, cluster_id, spu_id) ON DELETE CASCADE
);
CREATE INDEX launches_by_spu ON launches (org_id, cluster_id, spu_id, state);

-- A name outlives its generations, so that their numbers count up for ever.
CREATE TABLE topic_names (
    org_id                TEXT COLLATE "C" NOT NULL,
    cluster_id            TEXT COLLATE "C" NOT NULL,
    name                  TEXT COLLATE "C" NOT NULL,
    last_number           BIGINT NOT NULL,
    current_generation_id TEXT COLLATE "C",
    PRIMARY KEY (org_id, cluster_id, name),
    FOREIGN KEY (org_id, cluster_id) REFERENCES clusters (org_id, cluster_id) ON DELETE CASCADE
);

CREATE TABLE topic_generations (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    generation_id      TEXT COLLATE "C" NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    number             BIGINT NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    internal           BIGINT NOT NULL CHECK (internal IN (0, 1)),
    replication        BIGINT NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    deleted_at_unix_ms BIGINT,
    PRIMARY KEY (org_id, cluster_id, generation_id),
    UNIQUE (org_id, cluster_id, name, number),
    FOREIGN KEY (org_id, cluster_id, name)
        REFERENCES topic_names (org_id, cluster_id, name) ON DELETE CASCADE
);

CREATE TABLE partitions (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    generation_id      TEXT COLLATE "C" NOT NULL,
    idx                BIGINT NOT NULL,
    label              TEXT COLLATE "C" NOT NULL,
    leader_spu_id      BIGINT,
    leader_incarnation BIGINT NOT NULL,
    leader_epoch       BIGINT NOT NULL,
    partition_epoch    BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, generation_id, idx),
    FOREIGN KEY (org_id, cluster_id, generation_id)
        REFERENCES topic_generations (org_id, cluster_id, generation_id) ON DELETE CASCADE
);

-- position: the order of preference for leadership.
CREATE TABLE replicas (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    generation_id      TEXT COLLATE "C" NOT NULL,
    idx                BIGINT NOT NULL,
    spu_id             BIGINT NOT NULL,
    position           BIGINT NOT NULL,
    in_isr             BIGINT NOT NULL CHECK (in_isr IN (0, 1)),
    PRIMARY KEY (org_id, cluster_id, generation_id, idx, spu_id),
    FOREIGN KEY (org_id, cluster_id, generation_id, idx)
        REFERENCES partitions (org_id, cluster_id, generation_id, idx) ON DELETE CASCADE,
    FOREIGN KEY (org_id, cluster_id, spu_id) REFERENCES spus (org_id, cluster_id, spu_id)
        ON DELETE CASCADE
);
CREATE INDEX replicas_by_spu ON replicas (org_id, cluster_id, spu_id);

-- What watchers must hear. Each row has a revision of its own, taken from the cluster's
-- counter in the same transaction. Old rows are dropped; a watcher further back takes a
-- snapshot.
CREATE TABLE changes (
    org_id             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C" NOT NULL,
    revision           BIGINT NOT NULL,
    kind               TEXT COLLATE "C" NOT NULL,
    subject            TEXT COLLATE "C" NOT NULL,
    payload            TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (org_id, cluster_id, revision),
    FOREIGN KEY (org_id, cluster_id) REFERENCES clusters (org_id, cluster_id) ON DELETE CASCADE
);

-- No reference to clusters: who deleted a cluster is worth knowing afterwards.
CREATE TABLE audit (
    org_id             TEXT COLLATE "C" NOT NULL REFERENCES orgs (org_id),
    audit_id           TEXT COLLATE "C" NOT NULL,
    at_unix_ms         BIGINT NOT NULL,
    actor              TEXT COLLATE "C" NOT NULL,
    action             TEXT COLLATE "C" NOT NULL,
    cluster_id         TEXT COLLATE "C",
    subject            TEXT COLLATE "C" NOT NULL,
    detail             TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org_id, audit_id)
);

CREATE TABLE idempotency (
    org_id             TEXT COLLATE "C" NOT NULL REFERENCES orgs (org_id),
    key_id             TEXT COLLATE "C" NOT NULL,
    idempotency_key    TEXT COLLATE "C" NOT NULL,
    route              TEXT COLLATE "C" NOT NULL,
    request_hash       TEXT COLLATE "C" NOT NULL,
    status             BIGINT NOT NULL,
    body               TEXT COLLATE "C" NOT NULL,
    created_at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (org_id, key_id, idempotency_key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at_unix_ms);

-- Which replica of the control plane reconciles.
CREATE TABLE leadership (
    purpose            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder             TEXT COLLATE "C" NOT NULL,
    term               BIGINT NOT NULL,
    expires_at_unix_ms BIGINT NOT NULL
);
