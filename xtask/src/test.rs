//! `cargo xtask test`: everything that has to pass before a change goes in.

use std::env;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::setup;

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for `cargo test`, after `--`
    #[arg(last = true)]
    cargo_test: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    setup::ensure(is_ci())?;
    if has_component("fmt", "rustfmt")? {
        stage(
            &["fmt", "--all", "--check"],
            &[],
            "run `cargo fmt --all` and look at the result",
        )?;
    }
    if has_component("clippy", "clippy")? {
        stage(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
            "resolve the lints above, or allow them with a reason",
        )?;
    }
    // The end-to-end tests run the programs themselves.
    stage(&["build", "--workspace"], &[], "see the errors above")?;
    stage(
        &["test", "--workspace"],
        &args.cargo_test,
        "see the failed tests above",
    )?;
    browser(&args)?;
    println!("==> all stages passed");
    Ok(())
}

/// The site in a real browser, which is much to install for whoever works on something else.
fn browser(args: &Args) -> Result<()> {
    let arguments = [
        "test",
        "-p",
        "webapp",
        "--test",
        "browser",
        "--",
        "--ignored",
    ];
    if !args.cargo_test.is_empty() {
        // Some tests were asked for, and this is none of them.
        return Ok(());
    }
    if !setup::has_browser() {
        println!("==> browser: skipped, `cargo xtask setup --browser` brings what it needs");
        return Ok(());
    }
    stage(
        &arguments,
        &[],
        "see the failed stories above, and the screenshots in tests/browser/artefacts",
    )
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether a rustup component is there. Continuous integration may not do without.
fn has_component(subcommand: &str, component: &str) -> Result<bool> {
    let present = crate::cargo()
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !present {
        if is_ci() {
            bail!("cargo {subcommand} is missing: run `rustup component add {component}`");
        }
        println!("==> cargo {subcommand}: skipped, `rustup component add {component}` brings it");
    }
    Ok(present)
}

fn stage(arguments: &[&str], extra: &[String], advice: &str) -> Result<()> {
    let mut shown: Vec<&str> = arguments.to_vec();
    shown.extend(extra.iter().map(String::as_str));
    let shown = shown.join(" ");
    println!("==> cargo {shown}");
    let status = crate::cargo()
        .args(arguments)
        .args(extra)
        .status()
        .with_context(|| format!("failed to start cargo {shown}"))?;
    if !status.success() {
        bail!("cargo {shown} failed ({status}): {advice}");
    }
    Ok(())
}
