-- A job's execution has a lease of its own, and jobs wait while the circuit of an app that they call is open.

ALTER TABLE runglass.job_queue
    -- Until when the present step of the execution may take; whoever has it after that has lost it. NULL while none runs.
    ADD COLUMN lease_until timestamptz,
    -- How many executions were taken from workers that were gone or did not move.
    ADD COLUMN rescues smallint NOT NULL DEFAULT 0,
    ADD COLUMN queued_at timestamptz NOT NULL DEFAULT now(),
    -- The app at whose open circuit a job waits that has called others of its chain.
    ADD COLUMN waits_for text;

ALTER TABLE runglass.app_circuits
    -- When the circuit opened; a probe that fails keeps it open. NULL while it is closed.
    ADD COLUMN opened_at timestamptz,
    -- How long jobs wait for it; after that they end as circuit_open.
    ADD COLUMN wait_seconds double precision,
    -- Once a probe has succeeded: how many jobs may call the app at once. It grows with every success.
    ADD COLUMN allowance integer;
