//! Opening connections: over TLS, to the server that the certificate names.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _, MySqlConnection};
use tokio::time::timeout;

use super::dialect::Dialect;
use super::{Config, Error, Result, ServerConfig};

/// How to log in to a server. It cannot be shown: it has the password.
#[derive(Clone)]
pub(super) struct Login {
    options: MySqlConnectOptions,
    connect: Duration,
    statement: Duration,
}

impl Login {
    /// With the account that reads and writes.
    pub(super) fn new(config: &Config, server: &ServerConfig) -> Result<Self> {
        let login = Self::of(config, server, &config.user, &config.password_file)?;
        Ok(Self {
            options: login.options.database(&config.database),
            ..login
        })
    }

    /// With the account that promotes.
    pub(super) fn admin(config: &Config, server: &ServerConfig) -> Result<Self> {
        match &config.admin {
            Some(admin) => Self::of(config, server, &admin.user, &admin.password_file),
            None => Self::of(config, server, &config.user, &config.password_file),
        }
    }

    fn of(config: &Config, server: &ServerConfig, user: &str, password: &Path) -> Result<Self> {
        let text = fs::read_to_string(password).map_err(|error| {
            Error::Config(format!("failed to read {}: {error}", password.display()))
        })?;
        let password = one_line(&text).ok_or_else(|| {
            let file = password.display();
            Error::Config(format!(
                "{file} must hold the password of {user}, in one line"
            ))
        })?;
        // Without a mode that is asked for, any certificate is accepted.
        let mut options = MySqlConnectOptions::new()
            .host(&server.host)
            .port(server.port)
            .username(user)
            .password(password)
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca(&config.ca)
            .disable_statement_logging();
        if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
            options = options.ssl_client_cert(cert).ssl_client_key(key);
        }
        Ok(Self {
            options,
            connect: config.limits.connect,
            statement: config.limits.statement,
        })
    }

    /// Where it leads to.
    pub(super) fn address(&self) -> (&str, u16) {
        (self.options.get_host(), self.options.get_port())
    }

    /// Opens a connection whose statements are bounded.
    pub(super) async fn open(&self, dialect: &dyn Dialect) -> Result<MySqlConnection> {
        self.open_with(&dialect.session(Some(self.statement))).await
    }

    /// Opens a connection whose statements may take as long as they need.
    pub(super) async fn open_unbounded(&self, dialect: &dyn Dialect) -> Result<MySqlConnection> {
        self.open_with(&dialect.session(None)).await
    }

    /// Opens a connection to a server of which nothing is known yet.
    pub(super) async fn open_plain(&self) -> Result<MySqlConnection> {
        self.open_with("").await
    }

    async fn open_with(&self, setup: &str) -> Result<MySqlConnection> {
        let open = async {
            let mut connection = self.options.connect().await?;
            if !setup.is_empty() {
                connection.execute(setup).await?;
            }
            Ok(connection)
        };
        match timeout(self.connect, open).await {
            Ok(connection) => connection,
            Err(_) => {
                let (host, port) = self.address();
                let connect = humantime::format_duration(self.connect);
                Err(Error::TimedOut(format!(
                    "no connection to {host}:{port} within {connect}"
                )))
            }
        }
    }
}

/// The only line of a text.
fn one_line(text: &str) -> Option<&str> {
    let line = text.trim_end_matches(['\r', '\n']);
    (!line.is_empty() && !line.contains('\n')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(one_line("secret \r\n"), Some("secret "));
        for none in ["", "\n", "one\ntwo\n"] {
            assert_eq!(one_line(none), None, "{none:?}");
        }
    }
}
