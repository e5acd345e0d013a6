//! The search service, measured: `cargo xtask bench ingest` and `cargo xtask bench efficiency`.

mod efficiency;
mod ingest;
mod parts;

use anyhow::Result;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match (words.first().map(String::as_str), &numbers[..]) {
        (Some("ingest"), &[miners, rate, seconds]) => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(ingest::measure(&ingest::Load {
                miners,
                rate,
                seconds,
            }))
        }
        (Some("efficiency"), &[seeds, rounds]) => efficiency::measure(seeds, rounds),
        _ => {
            println!("ingest MINERS RATE SECONDS, or efficiency SEEDS ROUNDS");
            Ok(())
        }
    }
}
