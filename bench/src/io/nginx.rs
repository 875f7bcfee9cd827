//! nginx with one worker, which answers every request with `return 200`.

use std::path::Path;
use std::process::Command;

use super::serve::socket::free_address;
use super::server::Server;

/// Starts nginx. `dir` is a directory of its own, which the caller removes after the server's end.
pub fn start(dir: &Path) -> anyhow::Result<Server> {
    let address = free_address()?;
    let file = dir.join("nginx.conf");
    std::fs::write(&file, configuration(&address))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(file).args(["-e", "stderr"]);
    Server::start_at(command, address.parse()?)
}

fn configuration(address: &str) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String =
        kinds.iter().map(|kind| format!("    {kind}_temp_path {kind};\n")).collect();
    format!(
        "master_process off;\ndaemon off;\npid nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n    access_log off;\n    default_type text/plain;\n    tcp_nodelay on;\n\
         \x20   keepalive_requests 1000000000;\n{paths}\
         \x20   server {{\n        listen {address} backlog=4096;\n\
         \x20       location / {{ return 200 \"Hello, world!\"; }}\n    }}\n}}\n"
    )
}

/// Returns the version of the installed nginx, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("nginx").arg("-v").output().ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    Some(text.trim().rsplit_once('/')?.1.to_owned())
}
