-- Attempts at passwords, by whom they are counted for: a hash of an account's name and a network, or of
-- a network.
CREATE TABLE attempt (
    who BINARY(32) NOT NULL PRIMARY KEY,
    -- When all that may be made at once may be made again, by the clock of the database.
    full_ms BIGINT UNSIGNED NOT NULL,
    KEY attempt_full (full_ms)
) ENGINE = InnoDB;
