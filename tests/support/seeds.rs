//! Runs of a simulation, seed after seed, on two threads, and what they came to together.
//!
//! `MOSTAR_SEEDS=5000` says how many seeds run, `MOSTAR_FROM=20000` which is the first. `MOSTAR_SEED=17` runs one and prints
//! its trace, with `MOSTAR_DEATH=9` one whose process dies at its ninth commit. `MOSTAR_LONG` (of `scripts/test --full`)
//! runs ten times as many.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use super::invariants::{Broken, Checks};
use super::process::Death;

/// How many seeds run where nobody says otherwise, and for `MOSTAR_LONG`.
pub const SEEDS: u64 = 1000;
const LONG: u64 = 10_000;

/// What happened in a run, so that nobody believes in a world where nothing does.
pub trait Tally: Copy + Debug + Default + Send {
    /// The sums of both.
    fn add(&mut self, other: &Self);
    /// How often the process died.
    fn deaths(&self) -> u64;
    /// How often something was written.
    fn commits(&self) -> u64;
}

/// A tally of these counts. `crashes` is always among them.
#[macro_export]
macro_rules! tally {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $count:ident),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name {
            $($(#[$doc])* pub $count: u64,)*
            /// How often the process died.
            pub crashes: u64,
            /// How often something was written.
            pub commits: u64,
        }

        impl $crate::support::seeds::Tally for $name {
            fn add(&mut self, other: &Self) {
                $(self.$count += other.$count;)*
                self.crashes += other.crashes;
                self.commits += other.commits;
            }

            fn deaths(&self) -> u64 {
                self.crashes
            }

            fn commits(&self) -> u64 {
                self.commits
            }
        }
    };
}

/// What a run came to.
#[derive(Debug)]
pub struct Run<T> {
    pub tally: T,
    pub checks: Checks,
    pub trace: u64,
}

/// One run: its seed, the commits at which the process dies, and whether its trace is printed.
pub type Runner<T> = fn(u64, &[(u64, Death)], bool) -> Result<Run<T>, Broken>;

/// Which seeds a simulation runs where nobody says otherwise.
pub struct Seeds<'a> {
    /// So many, from the first on.
    pub usual: u64,
    /// Those that found something once.
    pub kept: &'a [u64],
    /// Those that break an invariant, and nobody knows yet whether the gateway or the checker is at fault: only the long
    /// runs have them.
    pub open: &'a [u64],
}

/// Runs the seeds that are wanted, or as the environment says. Nothing if it was one alone, to be looked at.
pub fn all<T: Tally>(name: &str, Seeds { usual, kept, open }: Seeds<'_>, run: Runner<T>) -> Option<(T, u64)> {
    if let Some(seed) = number("MOSTAR_SEED") {
        let deaths: Vec<_> = number("MOSTAR_DEATH").map(|at| (at, Death::at(at))).into_iter().collect();
        run(seed, &deaths, true).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        return None;
    }
    let wanted = number("MOSTAR_SEEDS");
    let seeds = wanted.unwrap_or(if is_long() { LONG } else { usual });
    let open = if is_long() || wanted.is_some() { &[] } else { open };
    let first = number("MOSTAR_FROM").unwrap_or_default();
    let more = kept.iter().copied().filter(|seed| !(first..first + seeds).contains(seed));
    let runs = more.chain(first..first + seeds).filter(|seed| !open.contains(seed));
    let runs: Vec<(u64, Option<u64>)> = runs.map(|seed| (seed, None)).collect();
    let (tally, checks, crashed) = judge(&runs, run);
    checks.report(name);
    let (count, edges, moments) = (runs.len() as u64, checks.edges, checks.moments);
    println!(
        "{name}: the process died in {crashed} of {count} runs; {edges} of {moments} moments next to an edge"
    );
    assert!(10 * crashed >= count, "in hardly any run the process dies: {crashed} of {count}");
    assert!(2 * edges >= moments, "{edges} of {moments} moments are next to a timer's edge");
    Some((tally, count))
}

/// Runs these seeds again and again, each time with a death at another of their commits.
pub fn dying<T: Tally>(usual: &[u64], run: Runner<T>) {
    let all = match number("MOSTAR_FROM") {
        Some(first) => (first..first + 40).collect(),
        None if is_long() => (0..40).collect(),
        None => usual.to_vec(),
    };
    for seed in all {
        let commits = run(seed, &[], false).expect("it goes well").tally.commits();
        let runs: Vec<_> = (1..=commits).map(|commit| (seed, Some(commit))).collect();
        let (tally, ..) = judge(&runs, run);
        assert!(tally.deaths() >= commits, "the process does not die: {tally:?}");
    }
}

/// The same seed gives the same trace.
pub fn repeats<T: Tally>(seeds: &[u64], run: Runner<T>) {
    for seed in seeds {
        let [first, second] = [(); 2].map(|()| run(*seed, &[], false).map(|run| run.trace));
        assert_eq!(first, second, "seed {seed}");
    }
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Whether there is time.
pub fn is_long() -> bool {
    std::env::var_os("MOSTAR_LONG").is_some()
}

/// Runs seeds, each with the commit at which the process dies; the first failures are told. With the sums comes in how many
/// runs the process died.
fn judge<T: Tally>(runs: &[(u64, Option<u64>)], run: Runner<T>) -> (T, Checks, u64) {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut tally, mut checks, mut crashed, mut failures) =
            (T::default(), Checks::default(), 0, Vec::new());
        while let Some((seed, dies)) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let deaths: Vec<_> = dies.map(|commit| (commit, Death::at(commit))).into_iter().collect();
            match run(*seed, &deaths, false) {
                Ok(run) => {
                    tally.add(&run.tally);
                    checks.add(&run.checks);
                    crashed += u64::from(run.tally.deaths() > 0);
                }
                Err(broken) => {
                    let dies = dies.map_or(String::new(), |commit| format!(", death {commit}"));
                    checks.count(&broken);
                    failures.push(format!("seed {seed}{dies}: {broken}"));
                }
            }
        }
        (tally, checks, crashed, failures)
    };
    let (tally, checks, crashed, failures) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut tally, mut checks, mut crashed, mut failures) = work();
        let more = other.join().expect("no run panics");
        tally.add(&more.0);
        checks.add_all(&more.1);
        crashed += more.2;
        failures.extend(more.3);
        (tally, checks, crashed, failures)
    });
    println!("{} runs: {tally:?}", runs.len());
    if !failures.is_empty() {
        checks.report("failed");
        let shown = failures[..failures.len().min(20)].join("\n");
        let (failed, count) = (failures.len(), runs.len());
        panic!(
            "{failed} of {count} runs failed; MOSTAR_SEED=n shows one, MOSTAR_DEATH=n with its death\n{shown}"
        );
    }
    (tally, checks, crashed)
}
