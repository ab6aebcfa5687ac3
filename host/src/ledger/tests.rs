//! The ledger's rules, each on its own accounts.

mod properties;

use super::*;
use Dimension as D;

fn caps(pairs: &[(D, u64)]) -> Caps {
    pairs.iter().copied().collect()
}

#[test]
fn iterations_are_exact_and_one_closing_call_follows() {
    let ledger = Ledger::new(Caps::default());
    let agent = ledger.open_root(caps(&[(D::Iterations, 2)]));
    for _ in 0..2 {
        let one = ledger
            .reserve_completion(agent, Count::Iteration, Amounts::ZERO)
            .expect("room");
        one.settle(Amounts::of(D::Iterations, 1));
    }
    let refused = ledger
        .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
        .expect_err("used up");
    assert_eq!((refused.dimension, refused.used, refused.cap), (D::Iterations, 2, 2));
    ledger.open_closing(agent);
    let closing = ledger
        .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
        .expect("the closing call");
    assert!(closing.is_closing());
    closing.settle(Amounts::ZERO);
    ledger.open_closing(agent);
    assert!(
        ledger
            .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
            .is_err()
    );
    assert_eq!(ledger.spent(agent).get(D::Iterations), 2);
    assert_eq!(ledger.totals(agent).closing, 1);
    assert_eq!(ledger.ending(agent), Some(D::Iterations));
    let words = "The budget of this agent for iterations is used up: 2 of 2. It is raised with --budget iterations=N.";
    assert_eq!(ledger.ended_with(agent).as_deref(), Some(words));
}

#[test]
fn a_reservation_ends_once_in_each_of_its_ways() {
    let ledger = Ledger::new(Caps::default());
    let agent = ledger.open_root(caps(&[(D::Tokens, 100)]));
    let all = || Amounts::of(D::Tokens, 100);
    ledger.reserve(agent, all()).expect("room").release();
    assert_eq!(ledger.remaining(agent, D::Tokens), Some(100));
    let held = ledger.reserve(agent, all()).expect("room");
    assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
    held.settle(Amounts::of(D::Tokens, 40));
    assert_eq!(ledger.remaining(agent, D::Tokens), Some(60));
    drop(ledger.reserve(agent, Amounts::of(D::Tokens, 60)).expect("room"));
    assert_eq!(
        ledger.remaining(agent, D::Tokens),
        Some(0),
        "a dropped reservation is charged in full"
    );
}

#[test]
fn what_is_spent_of_a_reservation_is_set_aside_no_longer() {
    let ledger = Ledger::new(caps(&[(D::Fuel, 100)]));
    let agent = ledger.open_root(caps(&[(D::Fuel, 100)]));
    let fuel = |n: u64| Amounts::of(D::Fuel, n);
    let outer = ledger.reserve(agent, fuel(60)).expect("room");
    let held = outer.held();
    assert_eq!(ledger.remaining(agent, D::Fuel), Some(40));
    // A call inside sets nothing aside of its own.
    ledger.reserve(agent, Amounts::ZERO).expect("room").settle(fuel(20));
    held.spent(D::Fuel, 20);
    assert_eq!(
        (ledger.remaining(agent, D::Fuel), outer.amounts()),
        (Some(40), fuel(40)),
        "it is not counted twice"
    );
    outer.settle(fuel(10));
    let left = || (ledger.spent(agent).get(D::Fuel), ledger.remaining(agent, D::Fuel));
    assert_eq!(left(), (30, Some(70)));
    held.spent(D::Fuel, 20);
    assert_eq!(left(), (30, Some(70)), "what has ended sets nothing aside");
    let other = ledger.reserve(agent, fuel(50)).expect("room");
    held.spent(D::Fuel, 20);
    assert_eq!(left(), (30, Some(20)), "nor does it touch another's");
    other.release();
    assert_eq!(left(), (30, Some(70)));
}

#[test]
fn no_more_is_spent_of_a_reservation_than_it_sets_aside() {
    let ledger = Ledger::new(Caps::default());
    let agent = ledger.open_root(caps(&[(D::Fuel, 100)]));
    let fuel = |n: u64| Amounts::of(D::Fuel, n);
    let beside = ledger.reserve(agent, fuel(30)).expect("room");
    let outer = ledger.reserve(agent, fuel(10)).expect("room");
    let held = outer.held();
    ledger.charge(agent, fuel(15));
    held.spent(D::Fuel, 15);
    assert_eq!(
        (ledger.remaining(agent, D::Fuel), outer.amounts()),
        (Some(55), Amounts::ZERO)
    );
    held.spent(D::ToolCalls, 1);
    outer.settle(Amounts::ZERO);
    assert_eq!(
        ledger.remaining(agent, D::Fuel),
        Some(55),
        "what stands beside it stays"
    );
    beside.release();
    assert_eq!(ledger.remaining(agent, D::Fuel), Some(85));
}

#[test]
fn what_needs_no_reservation_takes_nothing_that_is_set_aside_for_others() {
    let ledger = Ledger::new(Caps::default());
    let root = ledger.open_root(caps(&[(D::HostCalls, 500)]));
    let allotted = ledger
        .open_child(root, Caps::default(), Amounts::of(D::HostCalls, 300))
        .expect("room");
    let beside = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
    let once = |agent: AccountId| ledger.charge_within(agent, D::HostCalls, 1);
    let spent = |agent: AccountId| ledger.spent(agent).get(D::HostCalls);
    assert!((0..200).all(|_| once(beside).is_ok()));
    let refused = Exhausted {
        dimension: D::HostCalls,
        cap: 500,
        used: 500,
        reserved: 300,
        whose: Whose::Ancestor,
    };
    assert_eq!(once(beside), Err(refused));
    assert_eq!(
        (spent(beside), spent(root)),
        (200, 200),
        "what is refused is not charged"
    );
    assert!(
        (0..300).all(|_| once(allotted).is_ok()),
        "it has what was set aside for it"
    );
    let refused = Exhausted {
        cap: 300,
        used: 300,
        reserved: 0,
        whose: Whose::Child,
        ..refused
    };
    assert_eq!(once(allotted), Err(refused));
    assert_eq!((spent(allotted), spent(beside), spent(root)), (300, 200, 500));
}

#[test]
fn what_a_crash_interrupted_is_set_aside_again_whatever_is_left() {
    let ledger = Ledger::new(caps(&[(D::Iterations, 1)]));
    let root = ledger.open_root(Caps::default());
    let child = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
    let one = Amounts::of(D::Iterations, 1);
    let again = ledger.reserve_again(child, one);
    assert_eq!(ledger.reserve(root, one).expect_err("the child's").whose, Whose::Tree);
    again.release();
    ledger.charge(root, one);
    let again = ledger.reserve_again(child, one);
    assert_eq!(
        (again.amounts(), ledger.remaining(child, D::Iterations)),
        (one, Some(0))
    );
    again.settle(one);
    assert_eq!(ledger.spent_by_all().0.get(D::Iterations), 2);
}

#[test]
fn a_closing_call_that_a_crash_interrupted_stays_the_only_one() {
    let ledger = Ledger::new(Caps::default());
    let root = ledger.open_root(caps(&[(D::Iterations, 1)]));
    let rest = Amounts::of(D::Tokens, 7);
    let complete = || ledger.reserve_completion(root, Count::MayClose, rest);
    ledger.charge(root, Amounts::of(D::Iterations, 1));
    ledger.closing_made(root);
    let again = ledger.reserve_again(root, rest).of_closing();
    assert!(again.is_closing());
    assert_eq!(complete().expect_err("refused").dimension, D::Iterations);
    ledger.open_closing(root);
    assert!(complete().is_err(), "it was made");
    again.settle(rest);
    assert_eq!(
        (ledger.totals(root).closing, ledger.spent(root).get(D::Iterations)),
        (1, 1)
    );
}

#[test]
fn an_overshoot_is_recorded_and_the_next_refused() {
    let ledger = Ledger::new(Caps::default());
    let agent = ledger.open_root(caps(&[(D::Tokens, 100)]));
    let call = ledger.reserve(agent, Amounts::of(D::Tokens, 90)).expect("room");
    assert_eq!(call.overshoot(Amounts::of(D::Tokens, 100)), []);
    let passed = call.overshoot(Amounts::of(D::Tokens, 130));
    assert_eq!(passed.iter().map(|p| (p.used, p.cap)).collect::<Vec<_>>(), [(130, 100)]);
    call.settle(Amounts::of(D::Tokens, 130));
    assert_eq!(ledger.spent(agent).get(D::Tokens), 130);
    assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
}

#[test]
fn a_child_spends_its_parents_money_and_its_own_iterations() {
    let ledger = Ledger::new(caps(&[(D::Iterations, 3)]));
    let root = ledger.open_root(caps(&[(D::CostMicroUsd, 10), (D::Iterations, 1)]));
    let child = ledger
        .open_child(root, caps(&[(D::Iterations, 5)]), Amounts::ZERO)
        .expect("room");
    let cost = Amounts::of(D::CostMicroUsd, 10).with(D::Iterations, 1);
    ledger.reserve(child, cost).expect("room").settle(cost);
    assert_eq!(ledger.remaining(root, D::CostMicroUsd), Some(0));
    assert_eq!(
        ledger.remaining(root, D::Iterations),
        Some(1),
        "its own, within the tree's 2"
    );
    assert_eq!(
        ledger.remaining(child, D::Iterations),
        Some(2),
        "the tree's, not its own 4"
    );
    let refused = ledger
        .reserve(child, Amounts::of(D::CostMicroUsd, 1))
        .expect_err("the parent's money");
    assert_eq!(refused.dimension, D::CostMicroUsd);
    for _ in 0..2 {
        let one = Amounts::of(D::Iterations, 1);
        ledger.reserve(child, one).expect("room").settle(one);
    }
    let refused = ledger
        .reserve(child, Amounts::of(D::Iterations, 1))
        .expect_err("the tree's cap");
    assert_eq!(refused.whose, Whose::Tree);
}

#[test]
fn refusals_that_an_agent_may_live_with_end_nothing() {
    let ledger = Ledger::new(Caps::default());
    let agent = ledger.open_root(caps(&[(D::ToolCalls, 0), (D::Tokens, 0)]));
    assert!(ledger.reserve(agent, Amounts::of(D::ToolCalls, 1)).is_err());
    assert_eq!(ledger.ending(agent), None);
    assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
    assert_eq!(ledger.ending(agent), Some(D::Tokens));
}

#[test]
fn an_allotment_is_set_aside_spent_and_given_back() {
    let ledger = Ledger::new(Caps::default());
    let root = ledger.open_root(caps(&[(D::Tokens, 100)]));
    let child = ledger
        .open_child(root, Caps::default(), Amounts::of(D::Tokens, 60))
        .expect("room");
    assert_eq!(ledger.remaining(root, D::Tokens), Some(40));
    assert_eq!(ledger.remaining(child, D::Tokens), Some(60));
    assert!(
        ledger
            .open_child(root, Caps::default(), Amounts::of(D::Tokens, 41))
            .is_err()
    );
    let grandchild = ledger
        .open_child(child, Caps::default(), Amounts::of(D::Tokens, 50))
        .expect("room");
    assert_eq!(
        (ledger.remaining(child, D::Tokens), ledger.remaining(root, D::Tokens)),
        (Some(10), Some(40))
    );
    ledger.charge(grandchild, Amounts::of(D::Tokens, 20));
    assert_eq!(ledger.remaining(grandchild, D::Tokens), Some(30));
    assert_eq!(
        ledger.remaining(root, D::Tokens),
        Some(40),
        "what was set aside is what was spent"
    );
    ledger.close(grandchild);
    assert_eq!(ledger.remaining(child, D::Tokens), Some(40));
    ledger.close(child);
    assert_eq!(ledger.remaining(root, D::Tokens), Some(80));
    assert_eq!(ledger.spent(root).get(D::Tokens), 20);
    assert_eq!(ledger.own_spent(root).get(D::Tokens), 0);
}

#[test]
fn an_allotment_that_is_overshot_is_charged_to_all_above() {
    let ledger = Ledger::new(Caps::default());
    let root = ledger.open_root(caps(&[(D::Tokens, 100)]));
    let child = ledger
        .open_child(root, Caps::default(), Amounts::of(D::Tokens, 10))
        .expect("room");
    ledger
        .reserve(child, Amounts::of(D::Tokens, 10))
        .expect("room")
        .settle(Amounts::of(D::Tokens, 25));
    assert_eq!(
        (ledger.spent(root).get(D::Tokens), ledger.remaining(root, D::Tokens)),
        (25, Some(75))
    );
    assert!(ledger.reserve(child, Amounts::of(D::Tokens, 1)).is_err());
    ledger.close(child);
    assert_eq!(ledger.remaining(root, D::Tokens), Some(75));
}

#[test]
fn iterations_are_given_back_so_many_times() {
    let ledger = Ledger::new(caps(&[(D::Iterations, 2)]));
    let root = ledger.open_root(caps(&[(D::Iterations, 2)]));
    ledger.charge(root, Amounts::of(D::Iterations, 2));
    assert!(ledger.refund_iteration(root, 1));
    assert!(!ledger.refund_iteration(root, 1));
    assert_eq!(
        (ledger.spent(root).get(D::Iterations), ledger.totals(root).refunded),
        (1, 1)
    );
    assert_eq!(ledger.remaining(root, D::Iterations), Some(1));
}

#[test]
fn time_is_the_roots_for_the_tree() {
    let ledger = Ledger::new(caps(&[(D::WallClockMs, 50)]));
    let root = ledger.open_root(Caps::default());
    let child = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
    ledger.charge(child, Amounts::of(D::WallClockMs, 40));
    ledger.charge(root, Amounts::of(D::WallClockMs, 40));
    assert_eq!(ledger.spent_by_all().0.get(D::WallClockMs), 40);
    assert_eq!(ledger.cap_in_force(root, D::WallClockMs), Some(50));
}

#[test]
fn the_limit_in_force_is_the_smallest_and_its_own_where_they_are_alike() {
    let ledger = Ledger::new(caps(&[(D::WallClockMs, 50), (D::Fuel, 50)]));
    let root = ledger.open_root(caps(&[(D::WallClockMs, 60), (D::Fuel, 50)]));
    let child = ledger.open_child(root, caps(&[(D::WallClockMs, 90)]), Amounts::ZERO);
    let child = child.expect("room");
    let limit = |account, dimension| ledger.limit_in_force(account, dimension);
    assert_eq!(limit(root, D::WallClockMs), Some((50, Whose::Tree)));
    assert_eq!(limit(root, D::Fuel), Some((50, Whose::Agent)));
    assert_eq!(limit(child, D::WallClockMs), Some((90, Whose::Child)));
    assert_eq!(limit(child, D::Tokens), None);
}

#[test]
fn whatever_is_refused_is_remembered_and_ends_no_agent_that_lives_with_it() {
    let of = |dimension| {
        let ledger = Ledger::new(Caps::default());
        (
            ledger.clone(),
            ledger.open_root(caps(&[(dimension, 0), (D::Tokens, 5)])),
        )
    };
    for dimension in [D::ToolCalls, D::StoredBytes, D::Children] {
        let (ledger, root) = of(dimension);
        assert!(!ledger.was_refused(root));
        assert!(ledger.reserve(root, Amounts::of(dimension, 1)).is_err());
        assert!(ledger.was_refused(root) && ledger.ending(root).is_none(), "{dimension}");
    }
    let (ledger, root) = of(D::ToolCalls);
    let child = ledger.open_child(root, Caps::default(), Amounts::of(D::Tokens, 6));
    assert!(child.is_err() && ledger.was_refused(root) && ledger.ending(root).is_none());
    let (ledger, root) = of(D::ToolCalls);
    ledger.had_too_little(root);
    assert!(ledger.was_refused(root) && ledger.ending(root).is_none());
}

#[test]
fn a_lost_send_counts_against_the_tree_and_no_agent() {
    let ledger = Ledger::new(caps(&[(D::Tokens, 100), (D::Iterations, 5)]));
    let root = ledger.open_root(Caps::default());
    ledger.resent(root, Amounts::of(D::Tokens, 30).with(D::Iterations, 1));
    assert_eq!(ledger.remaining(root, D::Tokens), Some(70));
    assert_eq!(
        ledger.remaining(root, D::Iterations),
        Some(5),
        "it is the same iteration"
    );
    assert_eq!(
        (ledger.spent_by_all().0, ledger.spent(root)),
        (Amounts::ZERO, Amounts::ZERO)
    );
    assert_eq!(ledger.totals(root).resent, 1);
}

#[test]
fn a_refusal_tells_whose_limit_it_met_how_much_is_left_and_its_key() {
    let words = |dimension, whose, used, reserved| {
        let cap = 2_000_000;
        let refused = Exhausted {
            dimension,
            cap,
            used,
            reserved,
            whose,
        };
        Refusal::from(refused).message
    };
    for (words, told) in [
        (
            words(D::Tokens, Whose::Child, 2_000_000, 0),
            "The budget of this agent for tokens is used up: 2000000 of 2000000. It is raised with --budget child.tokens=N.",
        ),
        (
            words(D::Tokens, Whose::Tree, 2_000_000, 5),
            "The budget of this run for tokens has nothing left of 2000000, with 5 set aside for what is under way. It is raised with --budget tree.tokens=N.",
        ),
        (
            words(D::CostMicroUsd, Whose::Ancestor, 1_500_000, 0),
            "The budget of the agents above this one for usd has 0.500000 left of 2.000000, less than this may cost. It is raised with --budget usd=N.",
        ),
    ] {
        assert_eq!(words, told);
        let ledger = Ledger::new(Caps::default());
        let root = ledger.open_root(Caps::default());
        ledger.refused_before(root, D::Tokens, &words);
        assert_eq!(
            (ledger.ending(root), ledger.ended_with(root)),
            (Some(D::Tokens), Some(words))
        );
    }
}
