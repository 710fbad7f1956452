//! The pure state, without the simulator: what may and what must survive a crash.

use std::collections::BTreeSet;

use madsim::rand::{Error, RngCore};

use super::{
    inode::{Inode, SECTOR_BYTES},
    tree::{Tree, inode},
};
use crate::disk::OpenMode;

const SEEDS: u64 = 400;

/// `SplitMix64`.
struct Chance(u64);

impl RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill_with(|| self.next_u64() as u8);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

fn all(file: &Inode) -> &[u8] {
    file.read(0, usize::MAX)
}

/// The distinct outcomes over many seeds.
fn outcomes<T: Ord>(run: impl Fn(&mut Chance) -> T) -> BTreeSet<T> {
    (0..SEEDS).map(|seed| run(&mut Chance(seed))).collect()
}

#[test]
fn what_was_synced_survives() {
    let outcomes = outcomes(|chance| {
        let mut file = Inode::new(1);
        file.write(0, &[7; 3000]);
        file.write_back(chance);
        file.truncate(2500);
        file.write(100, &[8; 10]);
        file.sync();
        let before = all(&file).to_vec();
        let loss = file.crash(chance);
        assert_eq!(loss.bytes, 0);
        assert_eq!(all(&file), before);
        before.len()
    });
    assert_eq!(outcomes, BTreeSet::from([2500]));
}

#[test]
fn an_overwrite_is_old_or_new_by_sector() {
    let outcomes = outcomes(|chance| {
        let mut file = Inode::new(1);
        file.write(0, &[1; 3 * SECTOR_BYTES]);
        file.sync();
        file.write(0, &[2; 3 * SECTOR_BYTES]);
        file.crash(chance);
        assert_eq!(file.len(), 3 * SECTOR_BYTES);
        all(&file)
            .chunks(SECTOR_BYTES)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
                sector[0]
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(outcomes.len(), 8, "every mixture of old and new: {outcomes:?}");
}

#[test]
fn an_append_is_cut_torn_or_zeros() {
    let outcomes = outcomes(|chance| {
        let mut file = Inode::new(1);
        file.write(0, &[1; 100]);
        file.sync();
        file.write(100, &[2; 2000]);
        file.crash(chance);
        assert!(file.len() >= 100 && file.len() <= 2100);
        assert_eq!(all(&file)[..100], [1; 100]);
        let tail = &all(&file)[100..];
        assert!(tail.iter().all(|byte| *byte == 2 || *byte == 0));
        (file.len(), tail.contains(&0), tail.contains(&2))
    });
    assert!(outcomes.contains(&(100, false, false)), "nothing of it");
    assert!(outcomes.contains(&(2100, false, true)), "all of it");
    assert!(outcomes.contains(&(2100, true, false)), "only its length");
    assert!(outcomes.contains(&(2100, true, true)), "torn");
    assert!(outcomes.iter().any(|(len, ..)| *len > 100 && *len < 2100), "cut");
}

#[test]
fn a_failed_sync_drops_and_the_next_one_does_not_help() {
    let lost = outcomes(|chance| {
        let mut file = Inode::new(1);
        file.write(0, &[1; 2048]);
        file.sync_failed(chance);
        assert_eq!(all(&file), [1; 2048], "readable until the crash");
        file.sync();
        let loss = file.crash(chance);
        loss.bytes > 0
    });
    assert!(lost.contains(&true));
}

#[test]
fn rewriting_after_a_failed_sync_helps() {
    for seed in 0..SEEDS {
        let chance = &mut Chance(seed);
        let mut file = Inode::new(1);
        file.write(0, &[1; 2048]);
        file.sync_failed(chance);
        file.write(0, &[1; 2048]);
        file.sync();
        assert_eq!(file.crash(chance).bytes, 0);
    }
}

#[test]
fn cut_then_grown_reads_zeros_even_after_a_crash() {
    for seed in 0..SEEDS {
        let chance = &mut Chance(seed);
        let mut file = Inode::new(1);
        file.write(0, &[1; 3000]);
        file.sync();
        file.truncate(700);
        file.write(2000, &[3; 10]);
        file.sync();
        file.crash(chance);
        assert_eq!(all(&file)[..700], [1; 700]);
        assert!(all(&file)[700..2000].iter().all(|byte| *byte == 0), "seed {seed}");
        assert_eq!(all(&file)[2000..], [3; 10]);
    }
}

#[test]
fn a_sector_written_twice_can_be_the_version_between() {
    let versions = outcomes(|chance| {
        let mut file = Inode::new(1);
        file.write(0, &[1; SECTOR_BYTES]);
        file.sync();
        file.write(0, &[2; SECTOR_BYTES]);
        file.write_back(chance);
        file.write(0, &[3; SECTOR_BYTES]);
        file.crash(chance);
        all(&file)[0]
    });
    assert_eq!(versions, BTreeSet::from([1, 2, 3]));
}

#[test]
fn what_was_written_back_early_can_outlive_a_cut_until_the_cut_is_synced() {
    for synced in [false, true] {
        let outcomes = outcomes(|chance| {
            let mut file = Inode::new(1);
            file.write(0, &[1; 100]);
            file.sync();
            file.write(100, &[2; 300]);
            file.write_back(chance);
            file.truncate(100);
            if synced {
                file.sync();
            }
            file.crash(chance);
            assert_eq!(all(&file)[..100], [1; 100]);
            (file.len() > 100, all(&file).contains(&2))
        });
        assert!(outcomes.contains(&(false, false)));
        assert_eq!(outcomes.contains(&(true, true)), !synced, "{outcomes:?}");
    }
}

#[test]
fn a_flip_changes_one_bit_for_good() {
    let mut file = Inode::new(1);
    file.write(0, &[0; 1000]);
    assert!(!file.flip(3, 2), "nothing durable yet");
    file.sync();
    assert!(file.flip(3, 2));
    assert_eq!(all(&file)[3], 4);
    file.crash(&mut Chance(1));
    assert_eq!(all(&file)[3], 4);
    assert!(!file.flip(1000, 0));
}

fn names(tree: &Tree, folder: &str) -> Vec<String> {
    tree.list(folder)
        .map_or(vec!["(gone)".into()], |list| list.into_iter().map(|entry| entry.name).collect())
}

#[test]
fn each_folder_keeps_a_prefix_of_its_names() {
    let outcomes = outcomes(|chance| {
        let mut tree = Tree::new();
        tree.create_dir_all("a").unwrap();
        tree.create_dir_all("b").unwrap();
        tree.sync_dir("").unwrap();
        for name in ["a/1", "a/2", "b/1"] {
            tree.open(name, OpenMode::CreateNew).unwrap();
        }
        tree.sync_dir("b").unwrap();
        tree.crash(chance);
        assert_eq!(names(&tree, "b"), ["1"]);
        names(&tree, "a")
    });
    let expected: [&[&str]; 3] = [&[], &["1"], &["1", "2"]];
    assert!(outcomes.iter().map(Vec::as_slice).eq(expected), "{outcomes:?}");
}

#[test]
fn a_rename_happens_as_a_whole_or_not_at_all() {
    let outcomes = outcomes(|chance| {
        let mut tree = Tree::new();
        tree.create_dir_all("a").unwrap();
        tree.create_dir_all("b").unwrap();
        for (name, byte) in [("a/x", 1), ("b/y", 2)] {
            let file = tree.open(name, OpenMode::CreateNew).unwrap();
            inode(&file).write(0, &[byte]);
            inode(&file).sync();
        }
        for folder in ["", "a", "b"] {
            tree.sync_dir(folder).unwrap();
        }
        tree.rename("a/x", "b/y").unwrap();
        tree.crash(chance);
        let content = tree.file("b/y").map(|file| all(&inode(&file)).to_vec());
        (names(&tree, "a"), content)
    });
    let before = (vec!["x".to_owned()], Some(vec![2]));
    let after = (vec![], Some(vec![1]));
    assert_eq!(outcomes, BTreeSet::from([before, after]));
}

#[test]
fn syncing_either_side_of_a_rename_keeps_it() {
    for folder in ["a", "b"] {
        for seed in 0..SEEDS {
            let mut tree = Tree::new();
            tree.create_dir_all("a").unwrap();
            tree.create_dir_all("b").unwrap();
            tree.sync_dir("").unwrap();
            tree.open("a/x", OpenMode::CreateNew).unwrap();
            tree.rename("a/x", "b/x").unwrap();
            tree.sync_dir(folder).unwrap();
            tree.crash(&mut Chance(seed));
            assert_eq!((names(&tree, "a"), names(&tree, "b")), (vec![], vec!["x".to_owned()]));
        }
    }
}

#[test]
fn a_folder_whose_own_name_is_not_durable_takes_all_with_it() {
    let outcomes = outcomes(|chance| {
        let mut tree = Tree::new();
        tree.create_dir_all("a").unwrap();
        let file = tree.open("a/x", OpenMode::CreateNew).unwrap();
        inode(&file).write(0, &[1]);
        inode(&file).sync();
        tree.sync_dir("a").unwrap();
        tree.crash(chance);
        names(&tree, "a")
    });
    let (gone, kept) = (vec!["(gone)".to_owned()], vec!["x".to_owned()]);
    assert_eq!(outcomes, BTreeSet::from([gone, kept]));
}

#[test]
fn a_removal_can_be_undone_and_used_bytes_follow() {
    let outcomes = outcomes(|chance| {
        let mut tree = Tree::new();
        let file = tree.open("x", OpenMode::CreateNew).unwrap();
        {
            let mut inode = inode(&file);
            inode.write(0, &[1; 10]);
            inode.sync();
            tree.settle(&mut inode);
        }
        tree.sync_dir("").unwrap();
        assert_eq!(tree.used_bytes(), 10);
        tree.remove_dir_all("y").unwrap();
        tree.remove_file("x").unwrap();
        assert_eq!(tree.used_bytes(), 0);
        tree.crash(chance);
        (names(&tree, ""), tree.used_bytes())
    });
    assert_eq!(outcomes, BTreeSet::from([(vec![], 0), (vec!["x".to_owned()], 10)]));
}
