//! What every store does, run on the one in memory and on the one on a real server.

mod cases;
mod random;
mod world;

use world::{InMemory, OnServer, run};

/// Makes a test of each case, for each store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::run::<super::InMemory, _>(super::cases::$name) })*
        }
        mod zookeeper {
            $(#[test] fn $name() { super::run::<super::OnServer, _>(super::cases::$name) })*
        }
    };
}

contract!(
    a_znode_lives_and_dies,
    errors_are_the_servers,
    versions_guard_sets_and_deletes,
    numbers_come_from_the_parent,
    ephemerals_name_their_session,
    containers_and_times_to_live,
    transactions_are_all_or_nothing,
    transactions_see_their_own_changes,
    events_come_before_results,
    the_other_session_hears_of_everything_in_order,
    many_stats_in_order,
    access_lists_are_kept_and_enforced,
    sizes_are_refused_before_they_are_sent,
    the_limit_is_exact,
    names_of_every_kind,
    what_is_retracted_goes,
    close_takes_the_ephemerals_along,
    a_closed_store_says_so,
);
