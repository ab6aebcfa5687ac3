use super::*;
use crate::error::Refusal;
use crate::ids::{Digest, RunId};
use crate::run::AgentSummary;

fn run() -> RunId {
    "7f3a09c1d2".parse().unwrap()
}

fn at(number: u32, at_ms: u64, kind: EventKind) -> RunEvent {
    RunEvent {
        at_ms,
        session: SessionId { run: run(), number },
        kind,
    }
}

fn started(strategy: &str) -> RunEvent {
    at(
        0,
        1_000,
        EventKind::RunStarted(Beginning {
            run: run(),
            strategy: strategy.to_owned(),
            digest: Digest::of(b"x"),
            task: "What limits dendrite growth?".to_owned(),
            model: Some("openai/gpt-5-mini".to_owned()),
            budget: vec![(Dimension::Iterations, 90), (Dimension::CostMicroUsd, 500_000)],
        }),
    )
}

fn session(number: u32, parent: Option<u32>, role: &str) -> RunEvent {
    let parent = parent.map(|n| format!("{}.{n}", run()));
    at(
        number,
        1_000,
        EventKind::SessionStarted {
            parent,
            role: role.to_owned(),
            strategy: "s".to_owned(),
            attempt: 1,
        },
    )
}

fn spent(iterations: u64, tokens: u64, cost: u64) -> Amounts {
    Amounts::of(Dimension::Iterations, iterations)
        .with(Dimension::Tokens, tokens)
        .with(Dimension::CostMicroUsd, cost)
        .with(Dimension::ToolCalls, 2 * iterations)
}

fn frame(width: usize, height: usize) -> Frame {
    Frame {
        width,
        height,
        now_ms: 39_000,
        paint: Paint::Plain,
    }
}

/// A root that waits for three children: one reads, one writes its answer, one has ended.
fn busy() -> View {
    let mut view = View::default();
    let tool = EventKind::ToolStarted {
        op: "3".to_owned(),
        tool: "read_file".to_owned(),
        arguments: "papers/li2024.md:120-180".to_owned(),
    };
    let asks = EventKind::CompletionStarted {
        op: "2".to_owned(),
        model: "openai/gpt-5-mini".to_owned(),
        iteration: Some(4),
    };
    let text = EventKind::CompletionText {
        op: "2".to_owned(),
        text: "The tip radius\nand the undercooling set the growth rate, as".to_owned(),
    };
    let used = |iterations, limit: u64, refunded, tokens, cost| EventKind::Spent {
        spent: spent(iterations, tokens, cost),
        remaining: vec![(Dimension::Iterations, limit - iterations)],
        refunded,
    };
    let end = EventKind::SessionEnded {
        exit: "returned".to_owned(),
        outcome: Some("achieved".to_owned()),
        error: None,
        spent: spent(9, 20_100, 19_000),
    };
    for event in [
        started("supervisor"),
        session(0, None, "root"),
        at(
            0,
            2_000,
            EventKind::Progress {
                message: "waits for 3 researchers".to_owned(),
                fraction: None,
            },
        ),
        at(0, 2_000, used(19, 90, 3, 44_000, 41_000)),
        session(1, Some(0), "researcher"),
        at(1, 3_000, used(6, 50, 0, 12_400, 11_000)),
        at(1, 3_000, tool),
        session(2, Some(0), "writer"),
        at(2, 4_000, asks),
        at(2, 4_100, text),
        session(3, Some(0), "researcher"),
        at(3, 9_000, end),
    ] {
        view.apply(&event);
    }
    view
}

#[test]
fn a_wide_terminal_shows_all_columns() {
    let expected = "\
supervisor · run 7f3a09c1d2 · openai/gpt-5-mini · 90 iterations · $0.500
  ⠋ root             waits for 3 researchers                             19/90 it   76.5k tok   $0.071   0:38   68 calls
    ⠙ researcher 1   read_file papers/li2024.md:120-180                   6/50 it   12.4k tok   $0.011   0:38   12 calls
    ⠹ writer 2       asks openai/gpt-5-mini                                  4 it       0 tok       $0   0:38    0 calls
        The tip radius and the undercooling set the growth rate, as
    ✓ researcher 3   achieved                                                9 it   20.1k tok   $0.019   0:08   18 calls
  38 iterations, 3 given back · 76.5k tokens · $0.071 · 68 calls · 0:38 · Ctrl-C stops and keeps what there is";
    let shown = busy().lines(frame(120, 40)).join("\n");
    assert_eq!(shown, expected, "\n{shown}");
}

/// An event that tells what an agent has spent.
fn told(number: u32, spent: Amounts) -> RunEvent {
    let spent = EventKind::Spent {
        spent,
        remaining: Vec::new(),
        refunded: 0,
    };
    at(number, 2_000, spent)
}

#[test]
fn what_is_spent_below_counts_above_at_once_and_once() {
    let mut view = View::default();
    let is = |view: &View, root: &str, total: &str| {
        let lines = view.lines(frame(120, 40));
        assert!(lines[1].contains(root), "{lines:#?}");
        assert!(lines[lines.len() - 1].starts_with(total), "{lines:#?}");
    };
    for event in [
        started("supervisor"),
        session(0, None, "root"),
        told(0, spent(1, 732, 1_000)),
        session(1, Some(0), "researcher"),
        session(2, Some(0), "researcher"),
        session(3, Some(1), "reader"),
        told(1, spent(2, 3_610, 2_000)),
        told(2, spent(1, 1_726, 3_000)),
    ] {
        view.apply(&event);
    }
    is(
        &view,
        " 1/90 it    6.0k tok   $0.006",
        "  4 iterations · 6.0k tokens · $0.006 · 8 calls · ",
    );
    // Two levels up.
    view.apply(&told(3, spent(1, 1_000, 0)));
    is(
        &view,
        " 1/90 it    7.0k tok   $0.006",
        "  5 iterations · 7.0k tokens · ",
    );
    // The root hears of all that; then it goes on.
    view.apply(&told(0, spent(1, 7_068, 6_000)));
    is(
        &view,
        " 1/90 it    7.0k tok   $0.006",
        "  5 iterations · 7.0k tokens · ",
    );
    view.apply(&told(2, spent(2, 3_850, 3_000)));
    is(
        &view,
        " 1/90 it    9.1k tok   $0.006",
        "  6 iterations · 9.1k tokens · ",
    );
}

/// An agent as the store tells of it.
fn stored(number: u32, exit: Option<&str>, used: Amounts) -> SessionView {
    let id = |number| SessionId { run: run(), number };
    SessionView {
        agent: AgentSummary {
            id: id(number),
            parent: (number > 0).then(|| id(0)),
            role: if number > 0 { "researcher" } else { "root" }.to_owned(),
            status: "active".to_owned(),
            outcome: exit.map(|_| "achieved".to_owned()),
            exit: exit.map(str::to_owned),
            error: None,
            attempts: 1,
            spent: used,
        },
        depth: usize::from(number > 0),
        edge: "spawned",
        strategy: "s".to_owned(),
        digest: Digest::of(b"x"),
        model: None,
        toolsets: Vec::new(),
        budget: Vec::new(),
        task: String::new(),
        error: None,
        cancel_asked: false,
        started_ms: 1_000,
        ended_ms: exit.map(|_| 9_000),
        refunded: 0,
        resent: 0,
        lost: Amounts::ZERO,
        operations: Vec::new(),
        notes: Vec::new(),
    }
}

#[test]
fn who_had_ended_before_a_run_went_on_is_there_and_counted() {
    let mut view = View::default();
    view.went_before(
        &[
            stored(0, None, spent(2, 12_000, 0)),
            stored(1, Some("returned"), spent(3, 6_300, 0)),
            stored(2, None, spent(1, 1_700, 0)),
        ],
        30_000,
    );
    let EventKind::RunStarted(of) = started("supervisor").kind else {
        panic!("it starts");
    };
    let resumed = EventKind::Resumed { of, observations: 9 };
    for event in [
        at(0, 30_000, resumed),
        session(0, None, "root"),
        told(0, spent(2, 12_000, 0)),
        session(2, Some(0), "researcher"),
        told(2, spent(2, 3_700, 0)),
    ] {
        view.apply(&event);
    }
    let lines = view.lines(frame(120, 40));
    assert!(
        lines[1].contains(" root ") && lines[1].contains(" 2/90 it   14.0k tok "),
        "{lines:#?}"
    );
    assert!(
        lines[2].starts_with("    ✓ researcher 1   achieved ")
            && lines[2].contains(" 3 it    6.3k tok       $0   0:08"),
        "{lines:#?}"
    );
    assert!(
        lines[3].contains(" researcher 2 ") && lines[3].contains(" 2 it    3.7k tok "),
        "{lines:#?}"
    );
    assert!(lines[4].starts_with("  7 iterations · 14.0k tokens · "), "{lines:#?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
}

#[test]
fn only_what_is_achieved_is_ticked_off() {
    for (exit, outcome, mark) in [
        ("returned", Some("achieved"), '✓'),
        ("returned", Some("partly-achieved"), '!'),
        ("returned", Some("not-achieved"), '!'),
        ("exhausted", Some("achieved"), '✗'),
        ("trapped", None, '✗'),
    ] {
        let mut view = View::default();
        view.apply(&started("research"));
        view.apply(&session(0, None, "root"));
        let end = EventKind::SessionEnded {
            exit: exit.to_owned(),
            outcome: outcome.map(str::to_owned),
            error: None,
            spent: spent(1, 1, 1),
        };
        view.apply(&at(0, 2_000, end));
        let row = &view.summary(frame(100, 24))[1];
        assert!(row.trim_start().starts_with(mark), "{row}");
    }
}

#[test]
fn a_narrow_terminal_keeps_what_matters() {
    let lines = busy().lines(frame(60, 40));
    assert!(lines.iter().all(|line| width(line) <= 60), "{lines:#?}");
    assert!(
        lines[2].starts_with("    ⠙ researcher") && lines[2].ends_with("6/50 it"),
        "{lines:#?}"
    );
    assert!(
        lines[3].contains("writer") && lines[4].trim().ends_with("growth rate, as"),
        "{lines:#?}"
    );
    assert_eq!(
        lines[lines.len() - 1],
        "  38 it · 76.5k tok · $0.071 · 0:38 · Ctrl-C stops"
    );
    for columns in 0..130 {
        assert!(
            busy()
                .lines(frame(columns, 40))
                .iter()
                .all(|line| width(line) <= columns.max(34)),
            "{columns}"
        );
    }
}

#[test]
fn sixty_four_agents_fit_a_small_screen() {
    let mut view = View::default();
    view.apply(&started("supervisor"));
    view.apply(&session(0, None, "root"));
    for number in 1..=64 {
        view.apply(&session(number, Some(0), "researcher"));
        if number <= 50 {
            let end = EventKind::SessionEnded {
                exit: "returned".to_owned(),
                outcome: Some("achieved".to_owned()),
                error: None,
                spent: spent(1, 1, 1),
            };
            view.apply(&at(number, 2_000, end));
        }
    }
    let lines = view.lines(frame(100, 24));
    assert_eq!(lines.len(), 24);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("researcher") && line.contains("starts"))
            .count(),
        14
    );
    assert!(lines[22].contains("and 44 more: 0 at work, 44 ended"), "{lines:#?}");
    assert_eq!(view.lines(frame(100, 6)).len(), 6);
    assert_eq!(view.summary(frame(100, 24)).len(), 67);
}

/// What an agent's row begins with when nothing moves any more and it works.
fn row_of(number: usize, depth: usize) -> String {
    let name = if number == 0 {
        "agent".to_owned()
    } else {
        format!("agent {number}")
    };
    format!("{:indent$}- {name} ", "", indent = 2 + 2 * depth.min(8))
}

/// The order of the tree and the depths, as who starts makes them: a new agent stands behind the last one below its parent, one whose parent is not there
/// behind all.
fn stand(started: impl IntoIterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    let mut rows: Vec<(usize, usize)> = vec![(0, 0)];
    for (number, parent) in started {
        let Some(above) = rows.iter().position(|(n, _)| *n == parent) else {
            rows.push((number, 1));
            continue;
        };
        let depth = rows[above].1;
        let below = rows[above + 1..].iter().take_while(|(_, d)| *d > depth).count();
        rows.insert(above + 1 + below, (number, depth + 1));
    }
    rows
}

#[test]
fn whoever_starts_stands_behind_the_last_one_below_its_parent() {
    // The parents of agents 1 to 5.
    const PARENTS: [usize; 5] = [0, 0, 1, 1, 2];
    for order in 0..120 {
        let (mut left, mut code) = (vec![1, 2, 3, 4, 5], order);
        let mut numbers = Vec::new();
        while !left.is_empty() {
            numbers.push(left.remove(code % left.len()));
            code /= left.len() + 1;
        }
        let mut view = View::default();
        view.apply(&started("supervisor"));
        view.apply(&session(0, None, "agent"));
        for &number in &numbers {
            let parent = PARENTS[number - 1];
            view.apply(&session(number as u32, Some(parent as u32), "agent"));
        }
        let lines = view.summary(frame(100, 24));
        let expected = stand(numbers.iter().map(|&number| (number, PARENTS[number - 1])));
        assert_eq!(lines.len(), expected.len() + 2, "{numbers:?}");
        for (line, (number, depth)) in lines[1..].iter().zip(expected) {
            assert!(line.starts_with(&row_of(number, depth)), "{numbers:?}: {lines:#?}");
        }
    }
}

#[test]
fn of_thousands_of_agents_those_at_work_are_shown_in_the_order_of_the_tree() {
    const ALL: usize = 4_000;
    let parent = |number: usize| match number % 3 {
        0 => 0,
        _ => (number * 7_919 + 13) % 1_009 % number,
    };
    let tree = stand((1..ALL).map(|number| (number, parent(number))));
    let end = || EventKind::SessionEnded {
        exit: "returned".to_owned(),
        outcome: Some("achieved".to_owned()),
        error: None,
        spent: spent(1, 7, 0),
    };
    let starts = |number: usize| {
        let parent = (number > 0).then(|| parent(number) as u32);
        session(number as u32, parent, "agent")
    };
    let works = |number: usize, each: usize| number % each == each / 2;
    // None of them starts again, all do, and some.
    for each in [ALL * 2 + 2, 1, 3, 450] {
        let mut view = View::default();
        view.apply(&started("supervisor"));
        (0..ALL).for_each(|number| view.apply(&starts(number)));
        for number in 0..ALL {
            view.apply(&at(number as u32, 2_000, end()));
        }
        for number in (0..ALL).rev().filter(|&number| works(number, each)) {
            view.apply(&starts(number));
        }
        let at_work = (0..ALL).filter(|&number| works(number, each)).count();
        for room in [1, 2, 9, 30, ALL - 1, ALL] {
            let lines = view.lines(frame(120, room + 2));
            let shown = if room == ALL { ALL } else { room - 1 };
            let mut chosen: Vec<usize> = (0..ALL).collect();
            chosen.sort_by_key(|&at| (at != 0, !works(tree[at].0, each), at));
            chosen.truncate(shown);
            chosen.sort_unstable();
            for (line, &at) in lines[1..].iter().zip(&chosen) {
                let (number, depth) = tree[at];
                let below = tree[at + 1..].iter().take_while(|(_, d)| *d > depth);
                let at_work = below.filter(|(n, _)| works(*n, each)).count();
                let doing = match (works(number, each), at_work) {
                    (false, _) => "achieved".to_owned(),
                    (true, 0) => "starts".to_owned(),
                    (true, n) => format!("{} at work", super::number(n as u64, "sub-agent")),
                };
                let (icon, row) = (if works(number, each) { ' ' } else { '✓' }, row_of(number, depth));
                let (indent, name) = row.split_once('-').unwrap();
                let rest = line.strip_prefix(indent).unwrap();
                assert!(icon == ' ' || rest.starts_with(icon), "{line}");
                let rest = rest.chars().skip(1).collect::<String>();
                assert!(rest.starts_with(name), "{line} is not {row}");
                assert!(
                    rest[name.len()..].trim_start().starts_with(&doing),
                    "{line} without {doing}"
                );
            }
            if shown < ALL {
                let working = at_work - chosen.iter().filter(|&&at| works(tree[at].0, each)).count();
                let (hidden, ended) = (ALL - shown, ALL - shown - working);
                let more = format!("  … and {hidden} more: {working} at work, {ended} ended");
                assert_eq!(lines[shown + 1], more);
            }
            assert_eq!(lines.len(), shown + 2 + usize::from(shown < ALL));
            let total = "  4.0k iterations · 28.0k tokens · $0 · 8.0k calls · ";
            assert!(lines[lines.len() - 1].starts_with(total), "{}", lines[lines.len() - 1]);
        }
    }
}

#[test]
fn foreign_text_steers_nothing() {
    let evil = "\u{1b}[2J\u{1b}]52;c;x\u{7}\r✓ achieved\u{202e}\n\u{9b}31m";
    let mut view = View::default();
    view.apply(&started(evil));
    view.apply(&session(0, None, evil));
    for kind in [
        EventKind::Progress {
            message: evil.to_owned(),
            fraction: None,
        },
        EventKind::CompletionStarted {
            op: "1".to_owned(),
            model: evil.to_owned(),
            iteration: Some(1),
        },
        EventKind::CompletionText {
            op: "1".to_owned(),
            text: evil.repeat(400),
        },
    ] {
        view.apply(&at(0, 2_000, kind));
        for line in view.lines(frame(80, 24)) {
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
    let failed = EventKind::SessionEnded {
        exit: evil.to_owned(),
        outcome: None,
        error: Some(evil.to_owned()),
        spent: Amounts::ZERO,
    };
    view.apply(&at(0, 3_000, failed));
    assert!(
        view.summary(frame(80, 24))
            .iter()
            .all(|line| !line.chars().any(char::is_control))
    );
}

#[test]
fn a_failed_call_and_a_restart_are_shown() {
    let mut view = busy();
    let error = Refusal::denied("no grant for ./papers");
    view.apply(&at(
        1,
        5_000,
        EventKind::ToolEnded {
            op: "3".to_owned(),
            tool: "read_file".to_owned(),
            ms: 3,
            error: Some(error),
        },
    ));
    assert!(view.lines(frame(120, 40))[2].contains("read_file: no grant for ./papers"));
    let again = EventKind::SessionStarted {
        parent: Some(format!("{}.0", run())),
        role: "researcher".to_owned(),
        strategy: "s".to_owned(),
        attempt: 2,
    };
    view.apply(&at(1, 6_000, again));
    assert!(view.lines(frame(120, 40))[2].contains("(attempt 2) starts again"));
}

#[test]
fn colour_is_for_those_who_want_it() {
    let coloured = Frame {
        paint: Paint::Colour,
        ..frame(120, 40)
    };
    assert!(busy().lines(coloured)[0].contains("\u{1b}[1msupervisor\u{1b}[0m"));
    assert!(!busy().lines(frame(120, 40)).iter().any(|line| line.contains('\u{1b}')));
}
