CREATE TABLE post (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    account_id BIGINT UNSIGNED NOT NULL,
    text VARCHAR(1000) NOT NULL,
    -- Counts the edits, so that one does not undo another unseen.
    version INT UNSIGNED NOT NULL DEFAULT 0,
    created_ms BIGINT UNSIGNED NOT NULL,
    edited_ms BIGINT UNSIGNED NULL,
    KEY post_account (account_id, id),
    CONSTRAINT post_of FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
