//! Runs a recipe as what it is written for would: a shell, cron, systemd, a cluster, a workflow.

use serde_json::Value;

use crate::blocks;
use crate::place::{Ended, Place, variables};

/// What a script may take from its surroundings.
fn surroundings(place: &Place) -> Vec<(String, String)> {
    vec![
        ("SYSTOLE_SERVER".into(), place.server.clone()),
        ("SYSTOLE_PING".into(), place.token.clone()),
        ("HEARTBEAT_URL".into(), place.url()),
    ]
}

/// A script, by the shell that its language names.
pub fn script(place: &Place, name: &str) -> Ended {
    let shell = blocks::named(name).language;
    place.run(&[&shell, "-c", &place.block(name)], &surroundings(place))
}

/// A Python file whose job is a module beside it.
pub fn python(place: &Place, name: &str) -> Ended {
    std::fs::write(place.at(name), place.block(name)).unwrap();
    let job =
        "import subprocess, sys\n\ndef main():\n    sys.exit(subprocess.call('./nightly.sh'))\n";
    std::fs::write(place.at("job.py"), job).unwrap();
    place.run(&["python3", name], &surroundings(place))
}

/// A line of a crontab that runs something.
pub struct Line {
    pub expression: String,
    command: String,
    /// What holds for it: the lines above.
    variables: Vec<(String, String)>,
}

/// The lines of a crontab that run something.
pub fn crontab(text: &str) -> Vec<Line> {
    let mut known = Vec::new();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with(|first: char| first.is_ascii_digit() || first == '*') {
            known.extend(variables(line));
            continue;
        }
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        found.push(Line {
            expression: words[..5].join(" "),
            command: words[5].to_owned(),
            variables: known.clone(),
        });
    }
    found
}

/// One line of a crontab as cron runs it: little environment, and `%` ends the command.
pub fn cron(place: &Place, name: &str, line: usize) -> Ended {
    let Line {
        command, variables, ..
    } = crontab(&place.block(name)).swap_remove(line);
    // In /etc/cron.d a user stands before the command.
    let command = match name {
        "cron-d" => command.strip_prefix("root ").unwrap().to_owned(),
        _ => command,
    };
    std::fs::write(
        place.at("/etc/systole/backup.env"),
        place.block("environment-file"),
    )
    .unwrap();
    let kept = command.replace("\\%", "\0");
    assert!(
        !kept.contains('%'),
        "cron ends the command there: {command}"
    );
    place.run(&["/bin/sh", "-c", &kept.replace('\0', "%")], &variables)
}

/// The values of a key in a unit.
pub fn unit<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

/// What a unit starts, with its file of variables; `$$` is systemd's own for `$`.
fn started(place: &Place, text: &str, key: &str, mut more: Vec<(String, String)>) -> Ended {
    let [line] = unit(text, key)[..] else {
        panic!("one {key}: {text}");
    };
    let [file] = unit(text, "EnvironmentFile")[..] else {
        panic!("one EnvironmentFile: {text}");
    };
    more.extend(variables(&std::fs::read_to_string(file).unwrap()));
    let line = line.trim_start_matches('-').replace("$$", "$");
    place.run(&["/bin/sh", "-c", &format!("exec {line}")], &more)
}

/// The service that a timer starts.
pub fn service(place: &Place) -> Ended {
    std::fs::write(
        place.at("/etc/systole/backup.env"),
        place.block("environment-file"),
    )
    .unwrap();
    started(
        place,
        &place.block("backup.service"),
        "ExecStart",
        Vec::new(),
    )
}

/// A service of others, with the drop-in that reports its end. A report's failure is not the unit's.
pub fn drop_in(place: &Place) -> Ended {
    let url = format!("URL={}\n", place.url());
    std::fs::write(place.at("/etc/systole/backup-url.env"), url).unwrap();
    let job = place.run(&["./nightly.sh"], &[]);
    let result = if job.status == 0 {
        "success"
    } else {
        "exit-code"
    };
    let text = place.block("exec-stop-post");
    assert!(unit(&text, "ExecStopPost")[0].starts_with('-'), "{text}");
    let text = text.replace("/usr/bin/curl", "curl");
    let report = started(
        place,
        &text,
        "ExecStopPost",
        vec![("SERVICE_RESULT".into(), result.into())],
    );
    Ended {
        status: job.status,
        ..report
    }
}

/// The pod of a `CronJob`: its init containers and its container, one after the other as long as they succeed.
pub fn pod(place: &Place, name: &str) -> Ended {
    let manifest: Value = serde_saphyr::from_str(&place.block(name)).unwrap();
    let pod = &manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(
        pod["restartPolicy"], "Never",
        "{name}: a job is not repeated inside a pod"
    );
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        assert!(volume["secret"]["secretName"].is_string(), "{volume}");
    }
    let empty = Vec::new();
    let mut last = None;
    for container in pod["initContainers"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .chain(pod["containers"].as_array().unwrap())
    {
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let mounted = std::path::Path::new(mount["mountPath"].as_str().unwrap());
            std::fs::create_dir_all(mounted).unwrap();
            std::fs::write(mounted.join("url"), place.url()).unwrap();
        }
        let variables: Vec<(String, String)> = container["env"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|variable| {
                assert_eq!(variable["valueFrom"]["secretKeyRef"]["key"], "url");
                (variable["name"].as_str().unwrap().to_owned(), place.url())
            })
            .collect();
        let command: Vec<&str> = container["command"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let ended = place.run(&command, &variables);
        let over = ended.status != 0;
        last = Some(ended);
        if over {
            break;
        }
    }
    last.unwrap()
}

/// The steps of a workflow: one that fails lets only those follow that always run.
pub fn workflow(place: &Place) -> Ended {
    let workflow: Value = serde_saphyr::from_str(&place.block("github-actions")).unwrap();
    let mut ended = Ended {
        status: 0,
        stdout: String::new(),
        stderr: String::new(),
    };
    for step in workflow["jobs"]["nightly"]["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else {
            continue;
        };
        if ended.status != 0 && step["if"] != "always()" {
            continue;
        }
        let state = if ended.status == 0 {
            "success"
        } else {
            "failure"
        };
        let variables: Vec<(String, String)> = step["env"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let value = value
                    .as_str()
                    .unwrap()
                    .replace("${{ secrets.SYSTOLE_URL }}", &place.url())
                    .replace("${{ job.status }}", state)
                    .replace("${{ github.server_url }}", "https://github.com")
                    .replace("${{ github.repository }}", "shop/jobs")
                    .replace("${{ github.run_id }}", "7");
                assert!(!value.contains("${{"), "{name}: {value}");
                (name.clone(), value)
            })
            .collect();
        let step = place.run(&["bash", "-e", "-c", script], &variables);
        ended.status = ended.status.max(step.status);
        ended.stdout += &step.stdout;
        ended.stderr += &step.stderr;
    }
    ended
}
