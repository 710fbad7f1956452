//! Every history of three replicas up to a length, and many longer ones: the real state machine
//! on model disks, a model network and a model control plane, with crashes that lose what was
//! not fsynced, messages that come late, words that are heard late, and depositions at any time.
//!
//! Not modelled: sequences of one producer (the random walk in `tests` has them), retention, batches
//! of more than one record, an unclean election.

mod checks;
mod control_plane;
mod world;

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use self::world::{Step, World};

/// Histories of at most so many steps are all walked, from each beginning.
const LENGTH: usize = 5;
/// Long ones, each so long.
const WALKS: u64 = 4_000;
const WALK_LENGTH: usize = 160;

/// What a search met.
#[derive(Debug)]
enum Found {
    /// Nothing wrong: so many states, so many acknowledgements in the longest history.
    Sound { states: usize, acknowledged: usize, elections: usize },
    /// This history breaks a promise.
    Broken { history: Vec<Step>, why: String },
}

/// The beginnings: nothing has happened; a record is almost committed, and another is on the
/// leader alone; the same, and another leads, which nobody has heard; the leader is alone in the
/// set, the others may lead, and one of them has what is not committed.
fn beginnings() -> [Vec<Step>; 4] {
    use Step::{Answer, Decide, Deliver, Depose, Fetch, Produce, Propose, Sync, Wait};
    let fed = |n| [Fetch(n), Deliver(n), Answer(n), Sync(n), Fetch(n)];
    let almost = [&[Produce(0), Sync(0)][..], &fed(1), &fed(2), &[Deliver(1), Produce(0)]].concat();
    let deposed = [&almost[..], &[Depose(0)]].concat();
    let alone = [Produce(0), Sync(0), Wait(0), Propose(0), Decide(0)];
    let alone = [&alone[..], &[Fetch(1), Deliver(1), Answer(1)]].concat();
    [vec![], almost, deposed, alone]
}

/// Breadth first, so that what it finds is as short as can be.
fn exhaustive(beginning: &[Step], length: usize) -> Found {
    let mut first = World::new();
    for (n, step) in beginning.iter().enumerate() {
        if let Err(why) = first.take(*step) {
            return Found::Broken { history: beginning[..=n].to_vec(), why };
        }
    }
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(first, beginning.to_vec())]);
    let length = beginning.len() + length;
    let (mut acknowledged, mut elections) = (0, 0);
    while let Some((world, history)) = queue.pop_front() {
        acknowledged = acknowledged.max(world.acknowledged());
        elections = elections.max(world.elections());
        if history.len() == length {
            continue;
        }
        for step in world.steps() {
            let mut next = world.clone();
            let mut history = history.clone();
            history.push(step);
            if let Err(why) = next.take(step) {
                return Found::Broken { history, why };
            }
            if seen.insert(fingerprint(&next)) {
                queue.push_back((next, history));
            }
        }
    }
    Found::Sound { states: seen.len(), acknowledged, elections }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{world:?}").hash(&mut hasher);
    hasher.finish()
}

/// The same history without what it does not take to break the promise.
fn shrunk(mut history: Vec<Step>, mut why: String) -> Found {
    let broken = |history: &[Step]| {
        let mut world = World::new();
        history.iter().enumerate().find_map(|(n, step)| Some((n + 1, world.take(*step).err()?)))
    };
    let mut at = 0;
    while at < history.len() {
        let mut shorter = history.clone();
        shorter.remove(at);
        match broken(&shorter) {
            Some((length, reason)) => {
                shorter.truncate(length);
                (history, why, at) = (shorter, reason, 0);
            }
            None => at += 1,
        }
    }
    Found::Broken { history, why }
}

/// Long histories, each drawn from its number.
fn walks(numbers: std::ops::Range<u64>, length: usize) -> Found {
    let (mut states, mut acknowledged, mut elections) = (0, 0, 0);
    for number in numbers {
        let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut draw = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let (mut world, mut history) = (World::new(), Vec::new());
        for _ in 0..length {
            // By kind first, or the many kinds of delay would drown the rest; and mostly what
            // leads on, or nothing would ever be acknowledged.
            let mut steps = world.steps();
            if draw(8) > 0 && steps.iter().any(|step| !step.is_fault()) {
                steps.retain(|step| !step.is_fault());
            }
            let mut kinds: Vec<_> = steps.iter().map(std::mem::discriminant).collect();
            kinds.dedup();
            let kind = kinds[draw(kinds.len())];
            let of_kind: Vec<_> =
                steps.into_iter().filter(|step| std::mem::discriminant(step) == kind).collect();
            let step = of_kind[draw(of_kind.len())];
            history.push(step);
            if let Err(why) = world.take(step) {
                return shrunk(history, why);
            }
            states += 1;
        }
        acknowledged += world.acknowledged();
        elections += world.elections();
    }
    Found::Sound { states, acknowledged, elections }
}

#[test]
fn every_short_history_keeps_the_promises() {
    let (mut all, mut most) = (0, 0);
    for beginning in beginnings() {
        match exhaustive(&beginning, LENGTH) {
            Found::Sound { states, acknowledged, elections } => {
                assert!(elections >= 2, "it went where it matters");
                (all, most) = (all + states, acknowledged.max(most));
            }
            Found::Broken { history, why } => panic!("{why}\nafter {history:?}"),
        }
    }
    assert!(all > 50_000, "{all} states");
    assert!(most >= 1, "nothing was acknowledged");
}

#[test]
fn long_histories_keep_the_promises() {
    match walks(0..WALKS, WALK_LENGTH) {
        Found::Sound { acknowledged, elections, .. } => {
            let walks = WALKS as usize;
            assert!(
                acknowledged > 2 * walks && elections > 2 * walks,
                "{acknowledged} {elections}"
            );
        }
        Found::Broken { history, why } => panic!("{why}\nafter {history:?}"),
    }
}

/// A checker that never fails proves nothing. Plants exist in simulation builds only.
#[cfg(madsim)]
#[test]
fn each_planted_bug_is_found() {
    use weir_runtime::plant;

    let mut missed = Vec::new();
    for name in [
        "answers_old_epoch",
        "any_leader_epoch",
        "commit_at_append",
        "local_shrink",
        "truncate_to_high_watermark",
        "expansion_counts_confirmed",
        "incarnation_leads_on",
        "commit_below_min_insync",
        "fetched_is_durable",
        "elects_outside_isr",
        "duplicate_at_once",
    ] {
        plant::clear();
        plant::activate(name);
        let found = walks(0..20_000, WALK_LENGTH);
        plant::clear();
        match found {
            Found::Broken { history, why } => println!("{name}: {why}: {history:?}"),
            Found::Sound { .. } => missed.push(name),
        }
    }
    assert_eq!(missed, Vec::<&str>::new(), "planted and not found");
}
