//! An attack on one host that lives on: components with a bit flipped, thousands of them, each of which is refused or comes to an end of a known kind.
//! It is A20 of the suite `attacks`, in the library's process, as a process for each would take too long.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod common;

use std::path::Path;

use common::falls_to;
use hermes_host::config::{Config, Sources};
use hermes_host::run::{CompileIn, Host, HostError};
use hermes_tests::well::is_well;
use hermes_tests::{Home, guests};
use tokio::runtime::Handle;

/// How many flips are tried, and how many where nothing is to be left out.
const FLIPS: (u64, u64) = (1000, 10_000);

/// What the host may say of a component that does not run.
const REFUSED: [&str; 10] = [
    "load(bad-bytes)",
    "load(too-large)",
    "load(feature-off)",
    "load(unknown-import)",
    "load(other-world)",
    "load(compile-limit)",
    "load(bad-manifest)",
    "load(bad-tools)",
    "load(bad-description)",
    "invalid-input",
];

/// What a call may come to that has no answer: what the contract has, which a flipped tool may say itself. `exhausted` names what is.
const FAILED: [&str; 11] = [
    "denied",
    "exhausted(fuel)",
    "exhausted(host-calls)",
    "rate-limited",
    "timed-out",
    "conflict",
    "not-found",
    "invalid-input",
    "cancelled",
    "upstream",
    "interrupted",
];

/// What the host may hold more in the end, in KiB.
const MORE_KIB: u64 = 64 << 10;

fn host(home: &Path) -> Host {
    let set = [
        "compile_cache=false",
        "limits.fuel=1000000",
        "limits.start_wall=2s",
        "limits.step_wall=2s",
    ];
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.to_owned()),
        set: set.map(str::to_owned).into(),
    };
    // A process for each of them would take too long.
    Host::open(Config::load(&sources).unwrap(), CompileIn::ThisProcess).unwrap()
}

/// Asks a component for its tools and calls the one that the intact one has: what it answered, or the kind of its failure; or why nothing was called.
async fn tried(host: &Host, path: &Path) -> Result<Result<String, String>, HostError> {
    let tools = host.tools_of(path.to_str().unwrap(), &[]).await?;
    let answer = tools.call("measure", "{}").await?;
    Ok(match answer.error {
        None => Ok(answer.content.concat()),
        Some((kind, _)) => Err(kind),
    })
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Numbers that look like chance and are the same each time (SplitMix64).
fn number(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread")]
async fn a20_bits_flipped_one_by_one() {
    let home = Home::new();
    let host = host(&home.path());
    let intact = std::fs::read(guests::built("table")).unwrap();
    let file = home.write("flipped.wasm", &intact);
    assert_eq!(tried(&host, &file).await.unwrap().unwrap(), "20000");
    let (before, tasks) = (resident_kib(), Handle::current().metrics().num_alive_tasks());
    let full = std::env::var_os("HERMES_TEST_FULL").is_some_and(|set| !set.is_empty());
    let (mut refused, mut ran) = (0, 0);
    for n in 0..if full { FLIPS.1 } else { FLIPS.0 } {
        let mut bytes = intact.clone();
        let bit = number(n + 1) % (8 * bytes.len() as u64);
        bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        std::fs::write(&file, &bytes).unwrap();
        match tried(&host, &file).await {
            Ok(ended) => {
                let kind = ended.err();
                let is_known = kind.as_deref().is_none_or(|kind| FAILED.contains(&kind));
                assert!(is_known, "bit {bit}: {kind:?}");
                ran += 1;
            }
            // Its words name the file, and where it is damaged.
            Err(error) => {
                let is_known = REFUSED.contains(&error.kind());
                assert!(
                    is_known && error.to_string().contains("flipped"),
                    "bit {bit}: {}: {error}",
                    error.kind()
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && ran > 10, "{refused} refused, {ran} ended otherwise");
    std::fs::write(&file, &intact).unwrap();
    assert_eq!(tried(&host, &file).await.unwrap().unwrap(), "20000", "the host is well");
    assert!(
        resident_kib() < before + MORE_KIB,
        "{} KiB, and {before} before",
        resident_kib()
    );
    falls_to(tasks).await;
    drop(host);
    is_well(&home);
}
