//! The programs beside real peers: nginx, wrk and redis-benchmark, where they are installed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::temporary::TempPath;
use crate::programs::{SITE, crawl};
use crate::running::Running;

/// Tells if `program` can be run; says so if not.
fn is_installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
    let installed = version.status().is_ok();
    if !installed {
        eprintln!("{program} is not installed: the test with it is left out");
    }
    installed
}

/// Runs a command with a limit on its time; returns what it prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    let output = command.args(["60", program]).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{text}\n{errors}", output.status);
    text
}

/// nginx, which serves the site; drop ends it.
struct Nginx {
    child: Child,
    address: String,
    _folder: TempPath,
}

impl Nginx {
    fn start() -> Nginx {
        let folder = TempPath::folder("nginx");
        for (name, page) in SITE {
            let file = folder.join("site").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, page).unwrap();
        }
        // nginx takes no port 0, and another program may take the free port in between.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = free.to_string();
            fs::write(folder.join("nginx.conf"), configuration(&address)).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(&folder.0).args(["-c", "nginx.conf", "-e", "error.log"]);
            let mut child = command.spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(&address).is_ok() {
                    return Nginx { child, address, _folder: folder };
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        panic!("nginx does not start: {log}");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(address: &str) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = kinds.map(|kind| format!("{kind}_temp_path {kind};\n")).concat();
    // One process, as the user who runs the test.
    format!(
        "master_process off;\ndaemon off;\npid nginx.pid;\nerror_log error.log crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off;\n{paths} server {{ listen {address}; root site; }} }}\n"
    )
}

#[test]
fn the_crawler_crawls_nginx() {
    if is_installed("nginx") {
        crawl(&Nginx::start().address);
    }
}

#[test]
fn the_proxy_carries_wrk_to_nginx() {
    if !is_installed("nginx") || !is_installed("wrk") {
        return;
    }
    let nginx = Nginx::start();
    let proxy = Running::start("proxy", &[&nginx.address]);
    let url = format!("http://{}/index.html", proxy.address());
    let printed = output("wrk", &["-t", "1", "-c", "32", "-d", "2", &url]);
    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    let requests = printed.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: u64 = requests.unwrap_or_else(|| panic!("{printed}")).0.parse().unwrap();
    assert!(requests > 0, "{printed}");
    proxy.terminate();
    assert_eq!(proxy.end(), "drained\n");
}

#[test]
fn a_server_of_resp_bears_redis_benchmark() {
    if !is_installed("redis-benchmark") {
        return;
    }
    let server = Running::start("resp", &[]);
    let (host, port) = server.address().split_once(':').unwrap();
    for pipelined in ["1", "16"] {
        let tests = "ping_inline,ping_mbulk,set,get,incr,lpush,lpop";
        let bounds = ["-n", "5000", "-c", "50", "-P", pipelined, "--csv"];
        let arguments = [&["-h", host, "-p", port, "-t", tests], bounds.as_slice()].concat();
        let printed = output("redis-benchmark", &arguments);
        let rates = printed.lines().filter(|line| line.starts_with("\"")).skip(1);
        assert_eq!(rates.count(), 7, "{printed}");
    }
    let text = output("redis-cli", &["-h", host, "-p", port, "INCR", "after"]);
    assert_eq!(text.trim(), "1");
}
