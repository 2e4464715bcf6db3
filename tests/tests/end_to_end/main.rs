//! The whole product in network namespaces: real clients, the real XDP program under the real lbd,
//! real web servers. Needs root; without, the tests fail where `CI` is set and are reported as
//! ignored elsewhere.

mod scenarios;
mod traffic;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

type Scenario = fn() -> anyhow::Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("every_backend_serves", scenarios::every_backend_serves),
    (
        "draining_breaks_nothing",
        scenarios::draining_breaks_nothing,
    ),
    (
        "a_killed_backend_is_left",
        scenarios::a_killed_backend_is_left,
    ),
    ("traffic_survives_lbd", scenarios::traffic_survives_lbd),
    (
        "detach_removes_everything",
        scenarios::detach_removes_everything,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each scenario has hosts and processes of its own, but there are not many cores.
    arguments.test_threads.get_or_insert(1);
    let root = nix::unistd::Uid::effective().is_root();
    let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty());
    let trials = SCENARIOS
        .iter()
        .map(|&(name, scenario)| {
            let test = move || {
                if !root {
                    return Err(Failed::from("needs root"));
                }
                scenario().map_err(|error| Failed::from(format!("{error:#}")))
            };
            Trial::test(name, test).with_ignored_flag(!root && !ci)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
