//! The load of `http`: wrk, with one thread and keep-alive.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::foreign::absent::Absent;

/// The result of a run of wrk.
#[derive(Debug, PartialEq)]
pub struct Measured {
    pub requests: u64,
    pub per_second: f64,
    pub p99: Duration,
    /// wrk's line about errors of connections, if there is one.
    pub errors: Option<String>,
}

/// Loads a server over `connections` connections for whole seconds.
pub fn run(address: SocketAddr, connections: usize, seconds: u64) -> anyhow::Result<Measured> {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", &connections.to_string(), "-d", &seconds.to_string()]);
    wrk.arg("--latency").arg(format!("http://{address}/"));
    let output = wrk.output().map_err(|error| Absent(format!("wrk does not start: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "wrk: {}", text.trim());
    parse(&text)
}

/// Parses the output of wrk.
fn parse(text: &str) -> anyhow::Result<Measured> {
    let after = |begin: &str| text.lines().find_map(|line| line.trim().strip_prefix(begin));
    anyhow::ensure!(after("Non-2xx").is_none(), "some responses have another status than 200");
    let requests = text.lines().find_map(|line| line.split_once(" requests in "));
    let requests = requests.and_then(|(count, _)| count.trim().parse().ok());
    let per_second = after("Requests/sec:").and_then(|number| number.trim().parse().ok());
    Ok(Measured {
        requests: requests.context("wrk printed no number of requests")?,
        per_second: per_second.context("wrk printed no rate")?,
        p99: after("99%").and_then(|time| duration(time.trim())).context("wrk printed no p99")?,
        errors: after("Socket errors:").map(|errors| format!("errors: {}", errors.trim())),
    })
}

/// Parses a time in wrk's format: `845.00us`, `1.23ms`, `1.02s`.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let unit = match &text[end..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..end].parse::<f64>().ok()? * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 3s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   430.12us   64.23us   3.10ms   93.10%
    Req/Sec   147.20k     3.10k  151.00k    80.00%
  Latency Distribution
     50%  425.00us
     75%  440.00us
     90%  461.00us
     99%    1.02ms
  441234 requests in 3.00s, 54.70MB read
  Socket errors: connect 0, read 1, write 0, timeout 0
Requests/sec: 147078.12
Transfer/sec:     18.23MB
";

    #[test]
    fn the_output_of_wrk_is_parsed() {
        let found = parse(OUTPUT).unwrap();
        assert_eq!(found.requests, 441_234);
        assert_eq!(found.per_second, 147_078.12);
        assert_eq!(found.p99, Duration::from_micros(1_020));
        assert_eq!(found.errors.unwrap(), "errors: connect 0, read 1, write 0, timeout 0");
    }

    #[test]
    fn other_statuses_than_200_are_no_sample() {
        assert!(parse(&format!("{OUTPUT}  Non-2xx or 3xx responses: 7\n")).is_err());
    }
}
