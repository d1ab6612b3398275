//! `redis-benchmark`, unmodified: against Redis with the script, and against doorbuster's Redis door.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::peer::{Peer, Place};
use crate::redis::Redis;
use crate::shop::Shop;
use crate::work::{HOLD_MS, LIMIT_PER_CUSTOMER};

/// Connections, and commands that are pipelined on each.
const CONNECTIONS: u32 = 50;
const PIPELINES: [u32; 3] = [1, 16, 64];

/// Ids are drawn from this many, as many as the program can, so that hardly any comes twice.
const IDS: u32 = 2_000_000_000;

/// What one run of `redis-benchmark` reports.
#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    /// Against whom.
    pub peer: Peer,
    /// How.
    pub arguments: String,
    /// Commands a second.
    pub per_second: f64,
    /// One command, microseconds.
    pub p50_us: f64,
    /// 99 % of the commands took at most this.
    pub p99_us: f64,
}

/// Runs it for all peers that speak the protocol.
pub fn run(place: &Place, peers: &[Peer], requests: u64) -> anyhow::Result<Vec<Benchmark>> {
    let mut benchmarks = Vec::new();
    let folder = place.folder.join("data");
    for peer in peers.iter().copied() {
        for pipeline in PIPELINES {
            let benchmark = match peer {
                Peer::RedisAlways => at_redis(&folder, peer, "always", pipeline, requests)?,
                Peer::RedisEverysec => at_redis(&folder, peer, "everysec", pipeline, requests)?,
                Peer::DoorbusterResp => at_doorbuster(place, pipeline, requests)?,
                _ => continue,
            };
            benchmarks.push(benchmark);
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(benchmarks)
}

fn at_redis(
    folder: &std::path::Path,
    peer: Peer,
    appendfsync: &str,
    pipeline: u32,
    requests: u64,
) -> anyhow::Result<Benchmark> {
    let redis = Redis::start(folder, appendfsync)?;
    let limit = LIMIT_PER_CUSTOMER.to_string();
    let command = [
        "EVALSHA",
        redis.script(),
        "3",
        "order:__rand_int__",
        "stock:sku-0",
        "buyers:sku-0",
        "customer-1",
        "sku-0",
        &limit,
    ];
    let benchmark = benchmark(peer, redis.port(), pipeline, requests, &command)?;
    redis.stop()?;
    Ok(benchmark)
}

fn at_doorbuster(place: &Place, pipeline: u32, requests: u64) -> anyhow::Result<Benchmark> {
    let shop = Shop::start(
        &place.folder.join("doorbuster"),
        &place.folder.join("data"),
        &place.doorbuster,
        true,
    )?;
    let port = shop.resp_port().context("the Redis door is closed")?;
    let ttl_ms = HOLD_MS.to_string();
    let command = [
        "RESERVE",
        "order:__rand_int__",
        "customer-1",
        &ttl_ms,
        "sku-0",
        "1",
    ];
    let benchmark = benchmark(Peer::DoorbusterResp, port, pipeline, requests, &command)?;
    shop.stop()?;
    Ok(benchmark)
}

fn benchmark(
    peer: Peer,
    port: u16,
    pipeline: u32,
    requests: u64,
    command: &[&str],
) -> anyhow::Result<Benchmark> {
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--csv"])
        .args(["-c", &CONNECTIONS.to_string(), "-P", &pipeline.to_string()])
        .args(["-n", &requests.to_string(), "-r", &IDS.to_string()])
        .args(command)
        .output()
        .context("running redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "redis-benchmark at {peer} failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = text.lines().last().context("redis-benchmark printed nothing")?;
    let [per_second, p50_ms, p99_ms] =
        figures(line).with_context(|| format!("redis-benchmark printed {line:?}"))?;
    Ok(Benchmark {
        peer,
        arguments: format!("-c {CONNECTIONS} -P {pipeline} -n {requests}"),
        per_second,
        p50_us: p50_ms * 1e3,
        p99_us: p99_ms * 1e3,
    })
}

/// Rate, p50 and p99 of a line of `--csv`: "test","rps","avg_latency_ms","min","p50","p95","p99","max".
fn figures(line: &str) -> Option<[f64; 3]> {
    // The command may hold commas, so fields are counted from the end.
    let fields: Vec<&str> = line.split("\",\"").map(|field| field.trim_matches('"')).collect();
    let of = |from_end: usize| fields.get(fields.len().checked_sub(from_end)?)?.parse().ok();
    Some([of(7)?, of(4)?, of(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_understood() {
        let line = "\"EVALSHA x\",\"5000.5\",\"0.3\",\"0.1\",\"0.25\",\"0.4\",\"0.5\",\"1.5\"";
        assert_eq!(figures(line), Some([5000.5, 0.25, 0.5]));
        assert_eq!(figures("WARNING: nothing"), None);
    }
}
