//! MariaDB servers that replicate from each other, on loopback or in namespaces.
//!
//! Every server starts read-only, whatever it was before: it becomes the primary when it is told
//! so, by these functions or by a promotion. Replication is semi-synchronous, so what the primary
//! acknowledged is on one of its replicas at least.
//!
//! The servers end with the process that started them, however that ends, unless they are
//! [kept](Options::keep).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::netns::Namespace;
use crate::pki::{Authority, Files};
use crate::process::Process;
use crate::wait;

/// How long something may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to end in order.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// The database that the application has.
pub const DATABASE: &str = "webapp";
/// The account of the application.
pub const USER: &str = "webapp";
/// The account that promotes.
pub const ADMIN: &str = "headgate";
/// The account that replicates.
const REPLICA: &str = "replica";
/// The password of all of them. It is no secret: the servers are on private networks, and gone
/// soon.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// Where a server is to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// What it is called.
    pub name: String,
    /// The address that it listens on, and that others know it by.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The namespace that it runs in, if not this one.
    pub namespace: Option<Namespace>,
}

impl Place {
    /// Places on loopback called `db1`, `db2`, …, at ports that are free.
    pub fn on_loopback(servers: u8) -> Result<Vec<Self>> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // All are bound before the first is released, or two might be the same.
        let listeners: Vec<TcpListener> = (0..servers)
            .map(|_| TcpListener::bind((address, 0)))
            .collect::<Result<_, _>>()?;
        let places = listeners.iter().zip(1..).map(|(listener, n): (_, u8)| {
            Ok(Self {
                name: format!("db{n}"),
                address,
                port: listener.local_addr()?.port(),
                namespace: None,
            })
        });
        places.collect()
    }
}

/// How servers are started.
#[derive(Debug)]
pub struct Options<'a> {
    /// A directory that exists, for everything that they have.
    pub directory: &'a Path,
    /// The authority that issues their certificates.
    pub authority: &'a Authority,
    /// A directory for an empty server, which takes seconds to make: it is made if it does not
    /// exist, and can be used again.
    pub template: &'a Path,
    /// Leaves the servers running when this process ends.
    pub keep: bool,
}

/// The servers. Dropping this ends them, unless they are kept.
#[derive(Debug)]
pub struct MariaDb {
    servers: Vec<Server>,
    directory: PathBuf,
    ca: PathBuf,
    keep: bool,
}

/// A server, running or not.
#[derive(Debug)]
pub struct Server {
    place: Place,
    id: u32,
    directory: PathBuf,
    files: Files,
    keep: bool,
    process: Option<Process>,
}

impl MariaDb {
    /// Starts servers: the first is the primary, the others are its replicas.
    pub fn start(options: &Options<'_>, places: Vec<Place>) -> Result<Self> {
        make_template(options.template)?;
        let mut servers = Vec::new();
        for (place, id) in places.into_iter().zip(1..) {
            servers.push(Server::create(options, place, id)?);
        }
        let mut cluster = Self {
            servers,
            directory: options.directory.to_owned(),
            ca: options.authority.ca(),
            keep: options.keep,
        };
        for file in [cluster.password_file(), cluster.admin_password_file()] {
            fs::write(&file, format!("{PASSWORD}\n"))
                .with_context(|| format!("failed to write {}", file.display()))?;
        }
        for server in &mut cluster.servers {
            server.spawn()?;
        }
        cluster.set_up().map(|()| cluster)
    }

    /// Servers that somebody else has started and [kept](Options::keep): their directory, and that of
    /// their certificates.
    pub fn open(directory: &Path, certificates: &Path, places: Vec<Place>) -> Self {
        let server = |(place, id): (Place, u32)| Server {
            directory: directory.join(&place.name),
            files: Files::of(&place.name, certificates),
            place,
            id,
            keep: true,
            process: None,
        };
        Self {
            servers: places.into_iter().zip(1..).map(server).collect(),
            directory: directory.to_owned(),
            ca: certificates.join("ca.pem"),
            keep: true,
        }
    }

    fn set_up(&mut self) -> Result<()> {
        for server in &mut self.servers {
            server.until_up()?;
        }
        let (primary, replicas) = self
            .servers
            .split_first()
            .context("no server is asked for")?;
        primary.sql(&accounts())?;
        for replica in replicas {
            replica.sql(&replicate_from(primary))?;
            replica.sql("START SLAVE")?;
        }
        // One that is alone would wait for ever.
        if !replicas.is_empty() {
            primary.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON")?;
            primary.until_followed_by(replicas.len())?;
        }
        primary.sql("SET GLOBAL read_only = OFF")?;
        let position = primary.sql("SELECT @@gtid_binlog_pos")?;
        replicas
            .iter()
            .try_for_each(|replica| replica.until_applied(&position))
    }

    /// All servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// A server by its name.
    pub fn server(&mut self, name: &str) -> Result<&mut Server> {
        let server = self
            .servers
            .iter_mut()
            .find(|server| server.place.name == name);
        server.with_context(|| format!("there is no server {name}"))
    }

    /// The authority that issued the servers' certificates.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// A file with the password of the application's account.
    pub fn password_file(&self) -> PathBuf {
        self.directory.join("app.password")
    }

    /// A file with the password of the account that promotes.
    pub fn admin_password_file(&self) -> PathBuf {
        self.directory.join("admin.password")
    }

    /// What the application's configuration says of these servers, as TOML: all of it, if `table`
    /// is empty, or a table of this name.
    pub fn config(&self, table: &str) -> String {
        let (head, dot) = if table.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("[{table}]\n"), format!("{table}."))
        };
        let mut text = format!(
            "{head}user = \"{USER}\"\n\
             password_file = {:?}\n\
             database = \"{DATABASE}\"\n\
             ca = {:?}\n\
             admin = {{ user = \"{ADMIN}\", password_file = {:?} }}\n",
            self.password_file(),
            self.ca,
            self.admin_password_file()
        );
        for Server { place, .. } in &self.servers {
            text += &format!(
                "\n[[{dot}servers]]\nname = \"{}\"\nhost = \"{}\"\nport = {}\n",
                place.name, place.address, place.port
            );
        }
        text
    }

    /// Makes a server anew, from all that another one has logged: one that was the primary when it
    /// died may have what nobody else has, and cannot go on from there.
    pub fn rebuild(&mut self, name: &str, primary: &str, template: &Path) -> Result<()> {
        let server = self.server(name)?;
        server.kill()?;
        let data = server.directory.join("data");
        fs::remove_dir_all(&data)
            .with_context(|| format!("failed to remove {}", data.display()))?;
        copy(template, &data)?;
        server.restart()?;
        self.follow(name, primary)
    }

    /// Makes a server that was started again replicate from another one, from where it is.
    /// Whether that works is for [`Server::replication`] to say.
    pub fn follow(&mut self, name: &str, primary: &str) -> Result<()> {
        let change = replicate_from(self.server(primary)?);
        let server = self.server(name)?;
        server.sql(
            "SET GLOBAL rpl_semi_sync_master_enabled = OFF; \
             STOP SLAVE; \
             SET GLOBAL gtid_slave_pos = @@gtid_current_pos",
        )?;
        server.sql(&change)?;
        server.sql("START SLAVE")?;
        Ok(())
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for server in &mut self.servers {
            // A drop has nobody to tell.
            let _ = server.kill();
        }
    }
}

/// Whether a replica gets what its primary writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// `Yes`, `No`, `Connecting` or `Preparing`.
    pub receiving: String,
    /// Whether what was received is applied.
    pub applying: bool,
    /// The number of the error by which receiving has stopped, or 0.
    pub receive_error: u32,
}

impl Server {
    fn create(options: &Options<'_>, place: Place, id: u32) -> Result<Self> {
        let directory = options.directory.join(&place.name);
        fs::create_dir(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        copy(options.template, &directory.join("data"))?;
        let address = place.address.to_string();
        let files = options
            .authority
            .issue(&place.name, &[&place.name, &address])?;
        Ok(Self {
            place,
            id,
            directory,
            files,
            keep: options.keep,
            process: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What it wrote.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Uses these files from its next start on.
    pub fn set_files(&mut self, files: Files) {
        self.files = files;
    }

    /// Starts it again, and waits until it answers. It is read-only; if it was a replica, it goes
    /// on as one.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.until_up()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Ends it in order.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(SHUTDOWN)?;
        }
        Ok(())
    }

    /// Stops it where it is. Its connections stay open, and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref();
        process
            .with_context(|| format!("{} does not run", self.name()))?
            .signal(signal)
    }

    /// Runs statements as its administrator, over its socket; returns the rows, with tabs between
    /// the columns.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.client(statements, "--skip-column-names")
    }

    fn client(&self, statements: &str, names: &str) -> Result<String> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--user=root", names])
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--execute={statements}"))
            .stdin(Stdio::null())
            .output()
            .context("failed to run `mariadb`, of mariadb-client")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{} refused `{statements:.200}`: {}",
                self.name(),
                said.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Waits until it has applied a position.
    pub fn until_applied(&self, position: &str) -> Result<()> {
        let seconds = PATIENCE.as_secs();
        let wait = format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})");
        let applied = self.sql(&wait)?;
        ensure!(
            applied == "0",
            "{} did not get {position} in {seconds} s",
            self.name()
        );
        Ok(())
    }

    /// Waits until so many replicas acknowledge what it writes.
    pub fn until_followed_by(&self, replicas: usize) -> Result<()> {
        wait::wait_for(PATIENCE, "replicas to follow", || {
            let clients = self.sql("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'")?;
            let clients = clients.split('\t').nth(1).unwrap_or_default();
            ensure!(
                clients == replicas.to_string(),
                "{clients} of {replicas} do"
            );
            Ok(())
        })
    }

    /// What its replication does; none if it does not replicate.
    pub fn replication(&self) -> Result<Option<Replication>> {
        let status = self.client("SHOW SLAVE STATUS\\G", "--column-names")?;
        let field = |name: &str| {
            let lines = status.lines().filter_map(|line| line.split_once(": "));
            let mut values = lines.filter(|(field, _)| field.trim() == name);
            values.next().map(|(_, value)| value.trim().to_owned())
        };
        let Some(receiving) = field("Slave_IO_Running") else {
            return Ok(None);
        };
        let error = field("Last_IO_Errno").unwrap_or_default();
        Ok(Some(Replication {
            receiving,
            applying: field("Slave_SQL_Running").as_deref() == Some("Yes"),
            receive_error: error.parse().unwrap_or(0),
        }))
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name());
        let Place { address, port, .. } = self.place;
        let file = |name: &str| self.directory.join(name).display().to_string();
        let program = server_program()?;
        let mut command = match &self.place.namespace {
            Some(namespace) => namespace.command(program)?,
            None => Command::new(program),
        };
        command
            .arg("--no-defaults")
            .args(as_root().iter())
            .arg(format!("--datadir={}", file("data")))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", file("pid")))
            .arg(format!("--bind-address={address}"))
            .arg(format!("--port={port}"))
            .arg(format!("--server-id={}", self.id))
            .arg(format!("--ssl-ca={}", self.files.ca.display()))
            .arg(format!("--ssl-cert={}", self.files.cert.display()))
            .arg(format!("--ssl-key={}", self.files.key.display()))
            .args(SETTINGS);
        if !self.keep {
            // SAFETY: prctl(2) is a bare system call; nothing is allocated or locked.
            unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        }
        let log = self.log();
        self.process = Some(on_a_lasting_thread(move || Process::start(command, &log))??);
        Ok(())
    }

    fn until_up(&mut self) -> Result<()> {
        let what = format!("{} to answer", self.name());
        wait::wait_for(PATIENCE, &what, || {
            let ended = match &mut self.process {
                Some(process) => process.ended()?,
                None => bail!("it was not started"),
            };
            if let Some(status) = ended {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("it ended ({status}): {}", tail.join(" | "));
            }
            self.sql("SELECT 1")
        })?;
        Ok(())
    }
}

/// What all servers have in common: small, safe, and ready to be the primary.
const SETTINGS: &[&str] = &[
    "--read-only=ON",
    "--skip-name-resolve",
    "--require-secure-transport=ON",
    "--max-connections=300",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_unicode_ci",
    // The log, from which others replicate.
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--log-slave-updates=ON",
    "--sync-binlog=1",
    "--gtid-strict-mode=ON",
    "--relay-log=relay",
    "--slave-net-timeout=10",
    // An acknowledged write is on a replica, or is not acknowledged.
    "--rpl-semi-sync-slave-enabled=ON",
    "--rpl-semi-sync-master-timeout=86400000",
    "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
    // Memory and disk.
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-use-native-aio=OFF",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
    "--performance-schema=OFF",
    "--table-open-cache=200",
    "--thread-cache-size=32",
];

fn accounts() -> String {
    format!(
        "CREATE DATABASE {DATABASE}; \
         CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL; \
         GRANT ALL ON {DATABASE}.* TO '{USER}'@'%'; \
         GRANT SLAVE MONITOR ON *.* TO '{USER}'@'%'; \
         CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL; \
         GRANT SLAVE MONITOR, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, READ ONLY ADMIN, \
         RELOAD ON *.* TO '{ADMIN}'@'%'; \
         CREATE USER '{REPLICA}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL; \
         GRANT REPLICATION SLAVE ON *.* TO '{REPLICA}'@'%'"
    )
}

fn replicate_from(primary: &Server) -> String {
    let Place { address, port, .. } = primary.place;
    format!(
        "CHANGE MASTER TO MASTER_HOST = '{address}', MASTER_PORT = {port}, \
         MASTER_USER = '{REPLICA}', MASTER_PASSWORD = '{PASSWORD}', \
         MASTER_SSL = 1, MASTER_SSL_CA = '{}', MASTER_SSL_VERIFY_SERVER_CERT = 1, \
         MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos",
        primary.files.ca.display()
    )
}

/// Makes a directory with an empty server, once.
fn make_template(template: &Path) -> Result<()> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if template.exists() {
        return Ok(());
    }
    let parent = template
        .parent()
        .context("a template needs a directory to be in")?;
    fs::create_dir_all(parent)?;
    // Under another name until it is complete: another process may want it as well.
    let unfinished = template.with_extension(std::process::id().to_string());
    let made = run(Command::new("mariadb-install-db")
        .arg("--no-defaults")
        .args(as_root())
        .arg(format!("--datadir={}", unfinished.display()))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--innodb-log-file-size=16M", "--innodb-use-native-aio=OFF"]));
    let renamed = made.and_then(|()| {
        fs::rename(&unfinished, template).or_else(|error| {
            // Then somebody else was faster.
            if template.exists() {
                Ok(())
            } else {
                Err(error.into())
            }
        })
    });
    if unfinished.exists() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    renamed.context("failed to make an empty MariaDB server")
}

/// A server that root starts has to be told to stay root's.
fn as_root() -> Option<&'static str> {
    Uid::effective().is_root().then_some("--user=root")
}

/// The server is in a directory that a user's PATH may leave out.
fn server_program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = directories.map(|directory| directory.join("mariadbd"));
    programs
        .find(|program| program.is_file())
        .context("there is no mariadbd: it is in Debian's mariadb-server")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", said.trim());
    Ok(())
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs something on a thread that lives as long as this process: what asks to end with its parent
/// ends with the thread that started it.
fn on_a_lasting_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    static JOBS: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Mutex::new(sender)
    });
    let (sender, result) = channel();
    let job = Box::new(move || {
        // Whoever asked waits below.
        let _ = sender.send(work());
    });
    let sent = jobs
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(job);
    sent.ok()
        .context("the thread that starts programs is gone")?;
    result
        .recv()
        .context("the thread that starts programs is gone")
}
