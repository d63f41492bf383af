//! Lists that lie (attack D19): what each lie costs, and that the rest of the list is still read.

use super::*;
use crate::limits::{LIST_DEPTH_MAX, LIST_ENTRIES_MAX, LIST_ROOT_INTERVAL, LIST_TREES_MAX};

/// A list of the records below one branch, with further children.
fn with_children(world: &mut World, children: &[String]) {
    let records: Vec<String> = records(0..3).iter().map(Record::to_string).collect();
    let all: Vec<&str> = records.iter().chain(children).map(String::as_str).collect();
    let mut texts = Vec::from([branch(&all)]);
    texts.extend(records);
    texts.extend(children.iter().cloned());
    world.publish_texts("l", 1, &texts, &[]);
}

fn subdomain(text: &str) -> String {
    format!("{}.l", EntryHash::of(text))
}

#[test]
fn an_entry_with_another_hash_is_refused() {
    let mut world = World::new([list("l")].into());
    let lie = record(50).to_string();
    with_children(&mut world, core::slice::from_ref(&lie));
    world.net.zone.set(&subdomain(&lie), &[&record(51).to_string()]);
    world.walk();
    assert_eq!(world.keys(0), keys_of(&records(0..3)));
    assert_eq!((world.defects(0), world.tree(0).entries_given_up()), ([(Defect::WrongHash, 1)].into(), 1));
}

#[test]
fn garbage_and_foreign_texts_are_no_entries() {
    let mut world = World::new([list("l")].into());
    let texts = ["enr:-----", "enrtree-branch:x", "nonsense", "enrtree://a@b"].map(String::from);
    with_children(&mut world, &texts);
    world.net.zone.set(&subdomain(&texts[2]), &["v=spf1 -all", ""]);
    let right = record(0).to_string();
    world.net.zone.set(&subdomain(&right), &["v=spf1 -all", "enr:-another", &right]);
    world.walk();
    assert_eq!(world.keys(0), keys_of(&records(0..3)), "the text with the right hash among others is taken");
    assert_eq!(world.defects(0), [(Defect::Malformed, 3), (Defect::NoEntry, 1)].into());
}

#[test]
fn bytes_that_are_no_text_and_texts_that_are_too_long_are_malformed() {
    let mut world = World::new([list("l")].into());
    let long = format!("enrtree-branch:{}", ["A".repeat(26).as_str(); 100].join(","));
    with_children(&mut world, core::slice::from_ref(&long));
    let root = world.net.zone.names().find(|(name, _)| *name == "l").unwrap().1[0].clone();
    world.net.zone.set_bytes("l", [[0xff; 300].to_vec(), root].into());
    world.walk();
    assert_eq!(world.defects(0), [(Defect::Malformed, 1)].into());
}

#[test]
fn records_among_links_and_links_among_records_are_passed_over() {
    let mut world = World::new([list("l")].into());
    let elsewhere = list("elsewhere").to_string();
    let nodes = [branch(&[&record(1).to_string(), &elsewhere]), record(1).to_string(), elsewhere];
    world.publish_texts("l", 1, &nodes, &[record(2).to_string()]);
    world.walk();
    assert_eq!(world.defects(0), [(Defect::Misplaced, 2)].into());
    assert_eq!((world.keys(0), world.domains()), (keys_of(&records(1..2)), Vec::from(["l".to_string()])));
}

#[test]
fn a_root_of_another_key_is_not_believed() {
    let mut world = World::new([link(7, "l")].into());
    world.publish("l", 1, &records(0..3), &[]);
    world.run(secs(3600));
    assert_eq!(world.tree(0).root(), None);
    assert_eq!(world.tree(0).last_defect(), Some(Defect::BadSignature));
    let asked = world.roots_asked("l");
    assert!((3..8).contains(&asked.len()), "it is asked with growing pauses: {asked:?}");
}

#[test]
fn a_sequence_number_never_goes_back_and_one_number_has_one_tree() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 5, &records(0..3), &[]);
    world.walk();
    for (seq, of) in [(4, 3..6), (5, 6..9)] {
        world.publish("l", seq, &records(of), &[]);
        world.run(LIST_ROOT_INTERVAL + secs(60));
        assert_eq!((world.tree(0).root().unwrap().seq, world.keys(0)), (5, keys_of(&records(0..3))));
    }
    let refused = world.defects(0)[&Defect::SeqRollback];
    assert!(refused >= 2, "{refused}");
    world.publish("l", 6, &records(9..12), &[]);
    world.run(2 * LIST_ROOT_INTERVAL);
    assert_eq!(world.keys(0), keys_of(&records(9..12)));
}

#[test]
fn a_root_that_oscillates_is_looked_at_no_more_often() {
    let mut world = World::new([list("l")].into());
    world.net.zone.ttl = Duration::ZERO;
    for seq in 1..=120_u64 {
        world.publish("l", if seq % 2 == 0 { seq } else { 1 }, &records(seq..seq + 20), &[]);
        world.run(secs(60));
    }
    let asked = world.roots_asked("l").len();
    assert!(asked <= 30, "{asked} in two hours");
}

#[test]
fn a_cycle_of_branches_cannot_be_made_and_a_subtree_that_stands_twice_is_read_once() {
    let mut world = World::new([list("l")].into());
    let leaf = record(1).to_string();
    let shared = branch(&[&leaf]);
    let (left, right) = (branch(&[&shared, &leaf]), branch(&[&shared]));
    let top = branch(&[&left, &right, &left, &shared]);
    world.publish_texts("l", 1, &[top, left, right, shared, leaf], &[]);
    world.walk();
    assert_eq!((world.tree(0).records_found(), world.defects(0)), (1, [(Defect::Repeated, 4)].into()));
    assert_eq!(world.asked().len(), 1 + 1 + 5, "the root, the links' top, each entry once");
}

#[test]
fn a_cycle_of_links_is_read_once() {
    let mut world = World::new([list("a")].into());
    world.publish("a", 1, &[], &[list("b"), list("a")]);
    world.publish("b", 1, &[], &[list("a"), list("b")]);
    world.walk();
    world.run(secs(100));
    assert_eq!(world.domains(), ["a", "b"]);
    assert_eq!(world.roots_asked("a").len(), 1);
}

#[test]
fn branches_without_end_are_cut_at_the_depth() {
    let mut world = World::new([list("l")].into());
    let mut texts = Vec::from([record(1).to_string()]);
    for _ in 0..20 {
        texts.insert(0, branch(&[&texts[0]]));
    }
    world.publish_texts("l", 1, &texts, &[]);
    world.walk();
    assert_eq!((world.tree(0).records_found(), world.defects(0)), (0, [(Defect::TooDeep, 1)].into()));
    assert_eq!(world.asked().len(), 2 + usize::from(LIST_DEPTH_MAX) + 1);
}

#[test]
fn a_list_has_no_more_trees_than_its_share_whatever_it_links_to() {
    let mut world = World::new([list("a"), list("z")].into());
    let links: Vec<Link> = (0..50).map(|n| list(&format!("d{n}"))).collect();
    world.publish("a", 1, &records(0..5), &links);
    for n in 0..50 {
        let links: Vec<Link> = (0..20).map(|m| list(&format!("d{n}-{m}"))).collect();
        world.publish(&format!("d{n}"), 1, &records(10..20), &links);
    }
    world.publish("z", 1, &records(20..23), &[]);
    world.run(secs(600));
    assert_eq!(world.dns().trees().len(), LIST_TREES_MAX + 1);
    assert!(world.defects(0).contains_key(&Defect::TooManyLinks));
    let mut rng = crate::rng::Seed::new([3; 32]).fork("draw");
    let own = keys_of(&records(20..23));
    let of_z = (0..1000).filter(|_| own.contains(&world.dns().candidates(&mut rng, 1)[0].contact.key())).count();
    assert!((400..600).contains(&of_z), "a list has the same share, whatever another one links to: {of_z}");
}

/// A zone that invents entries: every answer is a branch of 75 new hashes. No hash is right, so nothing of it is read; with right
/// hashes, a tree of that size would have to exist.
#[test]
fn a_tree_that_is_too_large_is_cut_at_its_bound() {
    let mut walk = walk::Walk::new(1, EntryHash::of("top"));
    let mut budget = LIST_ENTRIES_MAX - 1;
    let mut last = walk::Named::New;
    for n in 0..LIST_ENTRIES_MAX + 10 {
        last = walk.name(EntryHash::of(&n.to_string()), 1, budget);
        budget = budget.saturating_sub(1);
    }
    assert_eq!((last, walk.named(), walk.left()), (walk::Named::TooMany, LIST_ENTRIES_MAX, LIST_ENTRIES_MAX));
}

#[test]
fn a_list_that_disappears_keeps_what_was_read_of_it() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..10), &[]);
    world.walk();
    let names: Vec<String> = world.net.zone.names().map(|(name, _)| name.to_string()).collect();
    for name in names.iter().filter(|name| *name != "elsewhere.example") {
        world.net.zone.remove(name);
    }
    world.run(secs(24 * 3600));
    assert_eq!(world.keys(0), keys_of(&records(0..10)));
    assert_eq!(world.tree(0).last_defect(), Some(Defect::NoAnswer(QueryFault::NotFound)));
}

#[test]
fn an_empty_list_and_an_empty_answer_are_no_harm() {
    let mut world = World::new([list("l"), list("m")].into());
    world.publish("l", 1, &[], &[]);
    world.net.zone.set("m", &[]);
    world.run(secs(60));
    assert!(world.tree(0).is_walked() && world.tree(0).defects().count() == 0);
    assert_eq!((world.defects(1), world.tree(1).is_walked()), ([(Defect::NoEntry, 1)].into(), false));
    let mut rng = crate::rng::Seed::new([3; 32]).fork("draw");
    assert!(world.dns().candidates(&mut rng, 5).is_empty());
}
