//! scratch
use std::time::Duration;
use peerless_sim::scenario::{Faults, Plan, find};
use peerless_sim::scenario::Run;
fn main() {
    let nodes: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let secs: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let mut s = find("discovery").unwrap();
    let _ = (&mut s, nodes, secs);
    s = s.at(30, |run: &mut Run| drops(run)).at(60, |run: &mut Run| drops(run)).at(95, |run: &mut Run| {drops(run); inspect(run)});
    let time = Duration::from_secs(secs);
    let plan = Plan { nodes, time, threads: 2, faults: Faults::None, ..s.plan(1) };
    println!("{}", s.run(&plan).unwrap());
}
fn inspect(run: &mut Run) {
    let ids: Vec<_> = run.honest().map(|(h, _)| (h, run.id(h))).collect();
    let mut fill = [[0u32; 3]; 18];
    let mut indeg_hist = std::collections::BTreeMap::<(u32,u32), u32>::new();
    let tables: std::collections::BTreeMap<_, std::collections::BTreeSet<_>> = run.honest().map(|(h, n)| (h, n.discovery().unwrap().table().entries().map(|e| e.contact().id).collect())).collect();
    for k in 0..200usize {
        let (h, id) = ids[k * ids.len() / 200];
        let mut by: Vec<_> = ids.iter().filter(|(o, _)| *o != h).map(|(o, i)| (*o, *i)).collect();
        by.sort_by(|a, b| id.cmp_distance(&a.1, &b.1));
        // of my 16 nearest: how many know me, how many do I know
        let known = by[..16].iter().filter(|(_, i)| tables[&h].contains(i)).count() as u32;
        let knows = by[..16].iter().filter(|(o, _)| tables[o].contains(&id)).count() as u32;
        *indeg_hist.entry((known, knows)).or_default() += 1;
        for (o, i) in &by {
            let d = id.log_distance(i);
            let b = usize::from(d.saturating_sub(240));
            fill[b][0] += 1;
            fill[b][1] += u32::from(tables[&h].contains(i));
            let _ = o;
        }
    }
    for (b, f) in fill.iter().enumerate() { println!("bucket {b}: nodes {:.2} known {:.2}", f[0] as f64 / 200.0, f[1] as f64 / 200.0); }
    println!("(I know of my 16, of my 16 know me): count {indeg_hist:?}");
}

fn drops(run: &mut Run) {
    use peerless::contract::DropReason;
    let mut all: Vec<(u64, u32)> = run.honest().map(|(h, n)| (n.stats().datagrams_dropped.get(&DropReason::NoEndpointProof).copied().unwrap_or(0), h.0)).collect();
    all.sort_by(|a, b| b.cmp(a));
    let total: u64 = all.iter().map(|a| a.0).sum();
    println!("at {}: {total} drops; top {:?}; nodes with any {}", run.world.now(), &all[..12.min(all.len())], all.iter().filter(|a| a.0 > 0).count());
    let mut reasons = std::collections::BTreeMap::new();
    for (_, n) in run.honest() { for (k, v) in &n.stats().datagrams_dropped { *reasons.entry(format!("{k:?}")).or_insert(0) += v; } }
    println!("{reasons:?}");
    let bonds: Vec<usize> = run.honest().map(|(_, n)| n.discovery().unwrap().bonds().len()).collect();
    println!("bonds mean {} max {:?}", bonds.iter().sum::<usize>() / bonds.len(), bonds.iter().max());
}
