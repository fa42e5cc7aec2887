use systole_sim::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let from: u64 = a[1].parse().unwrap();
    let to: u64 = a[2].parse().unwrap();
    let trace = a.len() > 3;
    let mut stats = Stats::default();
    let mut bad = 0;
    for seed in from..to {
        let o = run(seed, Rules::default(), trace);
        stats.add(&o.stats);
        if let Some(b) = o.broken { println!("seed {seed}: {b}"); bad += 1; }
    }
    for (t, n) in stats.lines() { println!("{t}: {n}"); }
    println!("bad {bad}");
}
