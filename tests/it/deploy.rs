//! `scripts/deploy_webhook.sh`, without Docker, with its client only, and with an engine that only remembers; the
//! compose file and the image's root directory.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::gateway::Folder;

/// A variable set of a complete app.
const APP: &str = "WECHAT_CORP_ID=ww1\nWECHAT_CORP_SECRET='s3cretCanary'\nWECHAT_AGENT_ID=1000002\nWECHAT_TOKEN=t\n\
                   WECHAT_ENCODING_AES_KEY=k\n";

/// A copy of what the deployment reads, and the programs it may use.
struct Project {
    folder: Folder,
    programs: PathBuf,
}

/// How a script ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Project {
    fn new(env: &str) -> Self {
        let folder = Folder::new("deploy");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let copied = Command::new("cp")
            .args(["-r", "scripts", "config", "docker", "nginx"])
            .arg(folder.path())
            .current_dir(root)
            .status();
        assert!(copied.expect("cp runs").success());
        if !env.is_empty() {
            std::fs::write(folder.path().join(".env"), env).expect("written");
        }
        // Everything that the machine has, but no docker.
        let programs = folder.path().join("programs");
        std::fs::create_dir(&programs).expect("a folder");
        for place in ["/usr/bin", "/bin"] {
            for entry in std::fs::read_dir(place).expect("programs").flatten() {
                let name = entry.file_name();
                if !name.to_string_lossy().starts_with("docker") {
                    let _twice = symlink(entry.path(), programs.join(name));
                }
            }
        }
        Self { folder, programs }
    }

    /// With a client that finds no engine, as on a machine without one.
    fn with_client_only(self) -> Self {
        self.program(
            "docker",
            "#!/bin/sh\n[ \"$1\" = compose ] && exit 0\necho 'Cannot connect' >&2\nexit 1\n",
        );
        self
    }

    /// With an engine that remembers.
    fn with_engine(self) -> Self {
        std::fs::create_dir(self.path("engine")).expect("a folder");
        std::fs::write(self.path("engine/latest"), "sha256:none\n").expect("written");
        self.program("docker", include_str!("../deploy/fake_docker.sh"));
        self
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.programs.join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn deploy(&self, arguments: &[&str]) -> Ended {
        let output = Command::new("bash")
            .arg(self.path("scripts/deploy_webhook.sh"))
            .args(arguments)
            .env_clear()
            .env("PATH", &self.programs)
            .env("FAKE", self.path("engine"))
            .env("HEALTH_LIMIT_S", "3")
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        Ended {
            code: output.status.code().expect("no signal"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What the engine was told, without the questions.
    fn orders(&self) -> Vec<String> {
        let log = self.read("engine/log");
        let questions = ["info", "inspect", "compose version", "compose ps", "compose logs"];
        let is_order = |line: &&str| !questions.iter().any(|question| line.starts_with(question));
        log.lines().filter(is_order).map(ToOwned::to_owned).collect()
    }

    /// The images of the replicas that run.
    fn replicas(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.path("engine/containers")).expect("containers");
        let gateways = folder.flatten().filter(|it| it.file_name().to_string_lossy().starts_with("gateway-"));
        gateways.map(|it| std::fs::read_to_string(it.path()).expect("read").trim().to_owned()).collect()
    }
}

#[test]
fn a_dry_run_needs_no_docker_changes_nothing_and_shows_the_plan() {
    let project = Project::new("");
    let before = std::fs::read_dir(project.folder.path()).expect("files").count();
    for (arguments, expected) in [
        (
            &["--dry-run"][..],
            &["Deploy production: 3 replica", "docker compose build gateway", "Back up"][..],
        ),
        (&["--dry-run", "-e", "staging"], &["Deploy staging: 2 replica", "Back up"]),
        (&["--dry-run", "-e", "development"], &["Deploy development: 1 replica", "log level debug"]),
        (
            &["--dry-run", "-e", "production", "-n"],
            &["behind nginx", "--profile with-nginx up -d --no-deps nginx"],
        ),
        (&["--dry-run", "-e", "development", "-n"], &["openssl req -x509"]),
        (&["--dry-run", "-f"], &["build --no-cache --pull gateway"]),
    ] {
        let ended = project.deploy(arguments);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}: {}", ended.out);
        for line in expected {
            assert!(ended.out.contains(line), "{arguments:?} lacks {line}: {}", ended.out);
        }
        assert!(ended.out.contains("problem: docker is not installed"), "{}", ended.out);
    }
    assert!(!project.deploy(&["--dry-run", "-e", "development"]).out.contains("Back up"));
    assert!(project.deploy(&["--dry-run", "-e", "development", "-b"]).out.contains("Back up"));
    assert_eq!(std::fs::read_dir(project.folder.path()).expect("files").count(), before);
    assert!(project.deploy(&["-h"]).out.contains("--dry-run"));
    assert_eq!(project.deploy(&["-e", "test"]).code, 2);
    assert_eq!(project.deploy(&["-x"]).code, 2);
}

#[test]
fn with_the_client_only_it_fails_and_names_everything_that_is_missing_at_once() {
    let project = Project::new("WECHAT_CORP_ID=ww1\nWECHAT_TOKEN='t'\n").with_client_only();
    let ended = project.deploy(&["-n"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("nothing was changed"), "{ended:?}");
    for line in [
        "finds no Docker engine",
        "WECHAT_CORP_SECRET is not set",
        "WECHAT_AGENT_ID is not set",
        "WECHAT_ENCODING_AES_KEY is not set",
        "nginx/certs/fullchain.pem",
    ] {
        assert!(ended.out.contains(line), "{line}: {ended:?}");
    }
    assert!(!ended.out.contains("WECHAT_TOKEN is not") && !ended.out.contains("WECHAT_CORP_ID is not"));
    assert_eq!(project.read(".env"), "WECHAT_CORP_ID=ww1\nWECHAT_TOKEN='t'\n");
    let nothing = Project::new("GATEWAY_REPLICAS=many\n").with_client_only().deploy(&[]);
    assert!(
        nothing.out.contains("no channel is set") && nothing.out.contains("GATEWAY_REPLICAS is no number")
    );
}

#[test]
fn it_makes_secrets_starts_in_order_and_exchanges_one_by_one_the_second_time() {
    let project = Project::new(&format!("{APP}GATEWAY_MASTER_KEY=\nREDIS_PASSWORD=mine\n")).with_engine();
    let first = project.deploy(&["-e", "staging"]);
    assert_eq!(first.code, 0, "{first:?}");
    let env = project.read(".env");
    for name in ["GATEWAY_MASTER_KEY", "MYSQL_PASSWORD", "GATEWAY_API_KEYS"] {
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap_or_default();
        assert!(line.len() >= 64, "{name} in {env}");
        assert!(!first.out.contains(line) && !first.err.contains(line), "{name} is shown");
    }
    assert!(env.starts_with(APP) && env.contains("REDIS_PASSWORD=mine\n") && !env.contains("MASTER_KEY=\n"));
    let mode = std::fs::metadata(project.path(".env")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let begin = [
        "compose config --quiet",
        "compose build gateway",
        "compose up -d --no-recreate mysql redis",
        "compose run --rm --no-deps -T gateway check",
        "compose run --rm --no-deps -T gateway migrate",
        "compose up -d --no-build --no-deps --no-recreate --scale gateway=2 gateway",
    ];
    assert_eq!(project.orders(), begin);
    assert_eq!(project.replicas(), ["sha256:image-1"; 2]);

    let second = project.deploy(&["-e", "staging"]);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(project.read(".env"), env, "nothing is made twice");
    assert_eq!(project.replicas(), ["sha256:image-2"; 2]);
    let orders = project.orders().split_off(begin.len());
    let up = begin[5];
    assert!(orders[1].starts_with("compose exec -T mysql") && orders[1].contains("mysqldump"), "{orders:?}");
    assert_eq!(orders[2..6], begin[1..5]);
    assert_eq!(
        orders[6..],
        [
            "stop --time 15 gateway-3",
            "rm gateway-3",
            up,
            "stop --time 15 gateway-4",
            "rm gateway-4",
            up,
            up,
            "tag sha256:image-1 wecom-gateway:previous",
        ]
    );
    let backups = std::fs::read_dir(project.path("backups")).expect("backups").count();
    assert_eq!(backups, 2, "the backup and its sum");
}

#[test]
fn what_does_not_become_healthy_is_taken_back() {
    let project = Project::new(APP).with_engine();
    std::fs::write(project.path("engine/sick"), "sha256:image-1\n").expect("written");
    let hopeless = project.deploy(&[]);
    assert!(hopeless.code == 1 && hopeless.err.contains("nothing to go back to"), "{hopeless:?}");

    std::fs::write(project.path("engine/sick"), "sha256:image-3\n").expect("written");
    assert_eq!(project.deploy(&[]).code, 0);
    assert_eq!(project.replicas(), ["sha256:image-2"; 3]);
    let back = project.deploy(&[]);
    assert!(back.code == 1 && back.err.contains("the image before runs again"), "{back:?}");
    assert_eq!(project.replicas(), ["sha256:image-2"; 3]);
    assert_eq!(project.read("engine/latest").trim(), "sha256:image-2");
}

#[test]
fn a_configuration_that_the_new_image_refuses_stops_nothing_that_runs() {
    let project = Project::new(APP).with_engine();
    assert_eq!(project.deploy(&[]).code, 0);
    let refusing = include_str!("../deploy/fake_docker.sh").replace("logs | run)", "logs) ;; run) exit 2");
    project.program("docker", &refusing);
    let ended = project.deploy(&[]);
    assert!(ended.code == 1 && ended.err.contains("what ran before runs on"), "{ended:?}");
    assert_eq!(project.replicas(), ["sha256:image-1"; 3]);
    assert_eq!(project.read("engine/latest").trim(), "sha256:image-1");
}

/// The compose file as docker-compose understands it, checked against its schema, as JSON.
fn compose_file() -> serde_json::Value {
    let project = Project::new("MYSQL_PASSWORD=one\nREDIS_PASSWORD=two\n");
    let output = Command::new("docker-compose")
        .args(["--profile", "with-nginx", "config"])
        .current_dir(project.path("docker/webhook"))
        .output()
        .expect("docker-compose is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let json = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", json])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker-compose brings Python");
    std::io::Write::write_all(&mut python.stdin.take().expect("its input"), text.as_bytes()).expect("read");
    let output = python.wait_with_output().expect("its end");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_compose_file_is_valid_isolated_limited_and_hardened() {
    let file = compose_file();
    let service = |name: &str| file["services"][name].clone();
    for name in ["mysql", "redis"] {
        assert!(service(name)["ports"].is_null(), "{name} is open to the outside");
        assert_eq!(service(name)["networks"], serde_json::json!({ "back": null }), "{name}");
    }
    assert_eq!(file["networks"]["back"]["internal"], true);
    let gateway = service("gateway");
    assert_eq!(gateway["deploy"]["replicas"], 3);
    assert_eq!(
        gateway["deploy"]["resources"]["limits"],
        serde_json::json!({ "cpus": 0.5, "memory": "512M" })
    );
    assert_eq!(gateway["healthcheck"]["test"], serde_json::json!(["CMD", "/wecom-gateway", "healthcheck"]));
    assert_eq!((&gateway["read_only"], &gateway["user"]), (&true.into(), &"10001:10001".into()));
    assert!(gateway["volumes"].as_array().is_some_and(|it| it.contains(&"spool:/app/data:rw".into())));
    assert!(
        gateway["ports"][0].as_str().is_some_and(|it| it.starts_with("127.0.0.1:")),
        "{}",
        gateway["ports"]
    );
    assert_eq!(service("nginx")["profiles"], serde_json::json!(["with-nginx"]));
    let nginx = &service("nginx")["networks"]["front"]["ipv4_address"];
    assert_eq!(nginx, &gateway["environment"]["GATEWAY_TRUSTED_PROXIES"], "the one proxy that is believed");
    for name in ["gateway", "redis", "nginx"] {
        assert_eq!(service(name)["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service(name)["read_only"], true, "{name}");
    }
    for name in ["gateway", "mysql", "redis", "nginx"] {
        assert_eq!(service(name)["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert!(service(name)["healthcheck"].is_object() && service(name)["image"].is_string(), "{name}");
    }
}

#[test]
fn the_image_holds_all_that_the_program_needs_and_nothing_it_could_change() {
    let folder = Folder::new("image");
    let root = folder.path().join("root");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = env!("CARGO_BIN_EXE_wecom-gateway");
    let made = Command::new(here.join("docker/webhook/assemble_root.sh"))
        .args([binary, "config/notification.yaml"])
        .arg(&root)
        .current_dir(here)
        .status();
    assert!(made.expect("the script runs").success());
    assert!(root.join("etc/ssl/certs/ca-certificates.crt").is_file());
    assert!(!root.join("bin").exists() && !root.join("usr/bin").exists(), "no shell, no tools");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let other = format!(
        "webhook: {{ host: 127.0.0.1, port: {port} }}\ndatabase: {{ url: 'sqlite:/app/data/x.db' }}\n"
    );
    std::fs::write(root.join("app/config/other.yaml"), other).expect("written");
    // As Docker starts it: another root, no rights, no variables.
    let command = |file: &str, command: &str| {
        let mut program = Command::new("/usr/sbin/chroot");
        program.args(["--userspec=10001:10001"]).arg(&root);
        program.args(["/wecom-gateway", "--config", &format!("/app/config/{file}"), command]).env_clear();
        program
    };
    let run = |file: &str, name: &str| {
        let output = command(file, name).output().expect("chroot runs as root");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = run("notification.yaml", "check");
    assert!(code == Some(0) && said.contains("service.environment = production"), "{said}");
    let (code, said) = run("other.yaml", "healthcheck");
    assert!(code == Some(1) && said.contains("does not answer"), "{said}");
    let (code, said) = run("other.yaml", "migrate");
    assert!(code != Some(0) && said.contains("Permission denied"), "{said}");

    // The volume is the program's own.
    std::os::unix::fs::chown(root.join("app/data"), Some(10_001), Some(10_001)).expect("root may");
    let mut gateway = command("other.yaml", "serve").stdout(Stdio::null()).spawn().expect("it starts");
    let mut waits = 0..200;
    while run("other.yaml", "healthcheck").0 != Some(0) {
        assert!(waits.next().is_some(), "it does not become healthy");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    gateway.kill().expect("it runs");
    gateway.wait().expect("its end");
}

#[test]
fn the_unit_takes_every_right_that_the_program_does_not_need() {
    let unit = include_str!("../../deploy/systemd/wecom-gateway.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateDevices=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "LimitNOFILE=65536",
        "StateDirectory=wecom-gateway",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    // A stop has to be longer than what the program takes for it: 0.25 s, 9 s, and 3 s for what is on its way out.
    let stop_s = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.parse::<u32>().ok());
    assert!(stop_s.is_some_and(|seconds| seconds > 13), "{stop_s:?}");
}
