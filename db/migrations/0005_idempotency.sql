-- What a mutation answered under a caller's idempotency key, so that the same request again gets the same answer.
-- The row is written in the transaction of the change itself: no change without its key, no key without its change.

CREATE TABLE runglass.idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    mutation text NOT NULL,
    -- SHA-256 of the input without the key.
    input_hash bytea NOT NULL,
    -- NULL only within the transaction that makes the change.
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_expiry ON runglass.idempotency_keys (expires_at);
