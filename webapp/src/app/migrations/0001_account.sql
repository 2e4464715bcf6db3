-- Times are milliseconds since 1970, of the app server that wrote the row.
CREATE TABLE account (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
    -- In the PHC string format, with its parameters.
    password VARCHAR(255) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
    about VARCHAR(500) NOT NULL DEFAULT '',
    admin BOOLEAN NOT NULL DEFAULT FALSE,
    created_ms BIGINT UNSIGNED NOT NULL,
    UNIQUE KEY account_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
