-- The tables of the ledger, who may do what with them, and what nobody may do.
--
-- Run by agentcheck.storage.postgres_tables in one transaction, after it made the schema and the table of migrations.
-- Every reference names its schema, and functions search pg_catalog only, so that nobody puts something in between.

CREATE TABLE agentcheck.streams (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL,
    name text NOT NULL,
    UNIQUE (run, name)
);

-- No foreign key and no look at the number before: either costs as much as storing the row. The key refuses a number
-- that is there, the writer (under the stream's lock) one that leaves a gap, and verify finds what went round it.
CREATE TABLE agentcheck.events (
    stream_id bigint NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    payload bytea NOT NULL,
    chain bytea NOT NULL CHECK (octet_length(chain) = 32),
    PRIMARY KEY (stream_id, seq)
);

-- The one change that an event can suffer: its payload gives way to its leaf hash (RFC 9162, section 2.1.1), by the
-- custodian; where there are no roles, by whoever says in the transaction that this is meant.
CREATE FUNCTION agentcheck.check_withholding() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NEW.stream_id = OLD.stream_id AND NEW.seq = OLD.seq AND NEW.chain = OLD.chain
        AND substring(OLD.payload FROM 1 FOR 1) <> '\x00'::pg_catalog.bytea
        AND NEW.payload = '\x00'::pg_catalog.bytea || sha256('\x00'::pg_catalog.bytea || OLD.payload)
        AND (CASE WHEN to_regrole('agentcheck_custodian') IS NULL
            THEN current_setting('agentcheck.withholding', true) = 'on'
            ELSE current_user = 'agentcheck_custodian'
        END)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'events are not changed' USING ERRCODE = 'insufficient_privilege',
        HINT = 'a payload gives way to its leaf hash, by the role agentcheck_custodian';
END
$function$;

CREATE FUNCTION agentcheck.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RAISE EXCEPTION '% are not %', TG_TABLE_NAME,
        CASE TG_OP WHEN 'UPDATE' THEN 'changed' WHEN 'DELETE' THEN 'deleted' ELSE 'truncated' END
        USING ERRCODE = 'insufficient_privilege';
END
$function$;

CREATE TRIGGER events_no_update BEFORE UPDATE ON agentcheck.events
    FOR EACH ROW EXECUTE FUNCTION agentcheck.check_withholding();
CREATE TRIGGER events_no_delete BEFORE DELETE ON agentcheck.events
    FOR EACH STATEMENT EXECUTE FUNCTION agentcheck.refuse();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON agentcheck.events
    FOR EACH STATEMENT EXECUTE FUNCTION agentcheck.refuse();
CREATE TRIGGER streams_no_update BEFORE UPDATE ON agentcheck.streams
    FOR EACH STATEMENT EXECUTE FUNCTION agentcheck.refuse();
CREATE TRIGGER streams_no_delete BEFORE DELETE ON agentcheck.streams
    FOR EACH STATEMENT EXECUTE FUNCTION agentcheck.refuse();
CREATE TRIGGER streams_no_truncate BEFORE TRUNCATE ON agentcheck.streams
    FOR EACH STATEMENT EXECUTE FUNCTION agentcheck.refuse();

-- Also where session_replication_role switches ordinary triggers off.
ALTER TABLE agentcheck.events ENABLE ALWAYS TRIGGER events_no_update;
ALTER TABLE agentcheck.events ENABLE ALWAYS TRIGGER events_no_delete;
ALTER TABLE agentcheck.events ENABLE ALWAYS TRIGGER events_no_truncate;
ALTER TABLE agentcheck.streams ENABLE ALWAYS TRIGGER streams_no_update;
ALTER TABLE agentcheck.streams ENABLE ALWAYS TRIGGER streams_no_delete;
ALTER TABLE agentcheck.streams ENABLE ALWAYS TRIGGER streams_no_truncate;

-- The roles belong to the whole server: another database may have made them. Where the login may not make them, it
-- may at least not change rows itself.
DO $block$
DECLARE
    name text;
    mine record;
BEGIN
    SELECT rolsuper, rolcreaterole INTO mine FROM pg_catalog.pg_roles WHERE rolname = current_user;
    FOREACH name IN ARRAY ARRAY['agentcheck_writer', 'agentcheck_reader', 'agentcheck_custodian'] LOOP
        IF pg_catalog.to_regrole(name) IS NULL AND (mine.rolsuper OR mine.rolcreaterole) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- made by another database's migration meanwhile
            END;
        END IF;
        CONTINUE WHEN pg_catalog.to_regrole(name) IS NULL;
        IF NOT pg_catalog.pg_has_role(current_user, name, 'MEMBER') THEN
            BEGIN
                EXECUTE pg_catalog.format('GRANT %I TO %I', name, current_user);
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;  -- its own administrator grants it
            END;
        END IF;
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA agentcheck TO %I', name);
        EXECUTE pg_catalog.format(
            'GRANT SELECT ON agentcheck.streams, agentcheck.events, agentcheck.migrations TO %I', name);
    END LOOP;
    IF pg_catalog.to_regrole('agentcheck_writer') IS NOT NULL THEN
        GRANT INSERT (run, name) ON agentcheck.streams TO agentcheck_writer;
        GRANT INSERT ON agentcheck.events TO agentcheck_writer;
    END IF;
    IF pg_catalog.to_regrole('agentcheck_custodian') IS NOT NULL THEN
        GRANT UPDATE (payload) ON agentcheck.events TO agentcheck_custodian;
    END IF;
    EXECUTE pg_catalog.format(
        'REVOKE UPDATE, DELETE, TRUNCATE ON agentcheck.streams, agentcheck.events FROM %I', current_user);
END
$block$;
