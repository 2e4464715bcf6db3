-- What was sent and done, so that it is not done again when it is sent again.
CREATE TABLE once (
    hash BINARY(32) NOT NULL PRIMARY KEY,
    result BIGINT UNSIGNED NOT NULL DEFAULT 0,
    made_ms BIGINT UNSIGNED NOT NULL,
    KEY once_made (made_ms)
) ENGINE = InnoDB;
