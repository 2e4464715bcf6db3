//! The whole product in network namespaces: real clients, the real XDP program under the real lbd,
//! real web servers. Needs root; without, the tests fail where `CI` is set and are reported as
//! ignored elsewhere.

mod scenarios;
mod traffic;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

type Scenario = fn() -> anyhow::Result<()>;

/// The scenarios, by the names of their functions.
macro_rules! scenarios {
    ($($module:ident: $($name:ident)*;)*) => {
        const SCENARIOS: &[(&str, Scenario)] =
            &[$($((stringify!($name), scenarios::$module::$name),)*)*];
    };
}

scenarios! {
    backends:
        every_backend_serves
        draining_breaks_nothing
        adding_and_removing_breaks_nothing
        force_cuts_connections
        a_killed_backend_is_left
        services_come_and_go;
    daemon:
        traffic_survives_lbd
        changes_survive_lbd
        a_second_lbd_keeps_away
        a_wrong_file_changes_nothing
        a_missing_interface_is_named
        a_reload_is_applied
        generic_mode_is_announced_and_works
        verdicts_are_logged_on_demand
        a_pulled_cable_breaks_nothing
        the_program_is_put_back
        detach_removes_everything;
    failover:
        a_pair_serves_and_has_no_alarms
        a_dead_leader_is_replaced
        a_leader_that_ends_gives_up_first
        a_restarted_leader_goes_on_leading
        a_leader_without_a_link_gives_up
        a_standby_without_a_link_does_not_take_over
        what_is_tracked_lowers_the_priority
        preemption_waits_as_long_as_it_is_told
        of_two_equals_one_leads
        after_a_partition_there_is_one_leader
        with_a_witness_one_leads_in_a_partition
        two_that_know_each_other_need_no_group
        addresses_come_and_go_with_services
        keepalived_follows_lbd
        lbd_follows_keepalived;
    fence:
        a_killed_leader_is_fenced
        a_frozen_leader_is_fenced
        what_still_comes_to_one_that_ended_is_forwarded
        heartbeats_notice_a_dead_host;
    forgery:
        forged_advertisements_move_nobody
        a_third_router_on_the_link_is_told_of
        one_leads_though_no_heartbeats_arrive;
    pairing:
        a_token_pairs_two_balancers
        without_a_peer_there_is_nobody_to_pair;
    synchrony:
        a_change_at_either_is_made_at_both
        nothing_is_changed_at_one_alone_while_both_live
        a_switchover_breaks_nothing
        a_split_is_healed_and_told_on_both
        connections_on_dirty_slots_outlive_a_dead_leader
        a_restart_of_either_breaks_nothing
        a_leader_that_reaches_no_backend_makes_way
        a_standby_that_has_not_everything_is_not_handed_over_to;
    timeliness:
        threads_that_must_be_in_time_wait_for_nobody
        a_hung_leader_gives_up_and_says_why;
    adversity:
        a_full_disk_stops_changes_and_nothing_else
        a_clock_that_jumps_moves_nobody;
    observing:
        metrics_and_events_tell_what_happens
        metrics_tell_who_leads
        systemd_is_told;
    groups:
        each_of_two_leads_one_group
        addresses_of_ipv6_are_taken_over
        what_was_forwarded_over_ipv6_is_refused
        keepalived_follows_lbd_over_ipv6
        lbd_follows_keepalived_over_ipv6;
    site:
        a_page_comes_through_all_tiers
        everybody_reads_their_own_posts
        nothing_redundant_is_missed
        a_dead_primary_pauses_writing_until_one_is_promoted
        without_app_servers_the_rest_is_there
        strangers_between_tiers_are_refused
        a_web_server_that_stops_in_order_loses_nothing;
    families:
        services_of_ipv6_are_balanced
        names_are_resolved_over_either_version
        datagrams_stay_if_they_are_told_to
        a_pair_takes_over_both_versions_and_protocols;
    bad_input:
        broken_packets_disturb_nobody
        bad_clients_of_the_api_harm_nobody;
}

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
