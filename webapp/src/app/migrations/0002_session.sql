CREATE TABLE session (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- SHA-256 of the secret that the browser has.
    hash BINARY(32) NOT NULL,
    account_id BIGINT UNSIGNED NOT NULL,
    created_ms BIGINT UNSIGNED NOT NULL,
    expires_ms BIGINT UNSIGNED NOT NULL,
    address VARCHAR(45) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
    agent VARCHAR(255) NOT NULL,
    UNIQUE KEY session_hash (hash),
    KEY session_account (account_id, id),
    KEY session_expires (expires_ms),
    CONSTRAINT session_of FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
