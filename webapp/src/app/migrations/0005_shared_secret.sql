-- One row: what all app servers sign with and nobody else.
CREATE TABLE shared_secret (
    id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    secret BINARY(32) NOT NULL
) ENGINE = InnoDB;
