//! Amazon's profiles with keys that stand in a file: `~/.aws/credentials` and `~/.aws/config`, as Amazon's own tools read them. A
//! profile that names a way to keys instead, such as single sign-on, is refused with what to do: another identity than the one
//! that is meant would be tried otherwise. No message repeats what a file holds but names of settings.

use object_store::aws::AwsCredential;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// So large may a file be: people's have some dozens of profiles, a kilobyte each at most.
const LARGEST: u64 = 1 << 20;

/// What makes a profile one of a role, also with keys.
const ROLE: &str = "role_arn";

/// What a profile may name instead of keys.
const WAYS: [&str; 5] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
    "login_session",
];

/// What an environment variable is, or that it is not set.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A profile as far as it is used.
#[derive(Default)]
pub(crate) struct Profile {
    /// Its keys; without them the machine's or the container's credentials are used.
    pub(crate) keys: Option<AwsCredential>,
    /// Its region.
    pub(crate) region: Option<String>,
    /// Where it stands, for errors.
    pub(crate) place: String,
}

type Settings = BTreeMap<String, String>;
type Profiles = BTreeMap<String, Settings>;

/// The profile that the environment names, else the one named `default`; where that is not there, an empty one.
///
/// # Errors
/// What is wrong with it or with its files, and what would be right.
pub(super) fn find(variables: Variables) -> Result<Profile, String> {
    let named = variables("AWS_PROFILE");
    let name = named.as_deref().unwrap_or("default");
    let look = |variable: &str, file: &str, names: Names| -> Result<(String, Profiles), String> {
        let given = variables(variable).map(PathBuf::from);
        let is_asked_for = named.is_some() || given.is_some();
        let home = || Some(Path::new(&variables("HOME")?).join(".aws").join(file));
        match given.or_else(home) {
            Some(path) => Ok((path.display().to_string(), read(&path, is_asked_for, names)?)),
            None => Ok((format!("~/.aws/{file} (HOME is not set)"), Profiles::new())),
        }
    };
    let (config_file, config) = look("AWS_CONFIG_FILE", "config", of_config)?;
    let (keys_file, keys) = look("AWS_SHARED_CREDENTIALS_FILE", "credentials", of_keys)?;
    let (config, keys) = (config.get(name), keys.get(name));
    let place = format!("the profile {name:?} of {keys_file} and {config_file}");
    if named.is_some() && config.is_none() && keys.is_none() {
        return Err(format!("there is no such thing as {place} (AWS_PROFILE)"));
    }
    let mut settings = config.cloned().unwrap_or_default();
    // What stands in the file of keys counts.
    settings.extend(keys.cloned().unwrap_or_default());
    let profile = Profile {
        keys: keys_of(&settings).map_err(|fault| format!("{place} {fault}"))?,
        region: settings.remove("region").filter(|region| !region.is_empty()),
        place,
    };
    match (&named, &profile.keys) {
        (Some(_), None) => Err(format!(
            "{} has no keys (AWS_PROFILE): expected aws_access_key_id and aws_secret_access_key",
            profile.place
        )),
        _ => Ok(profile),
    }
}

fn keys_of(settings: &Settings) -> Result<Option<AwsCredential>, String> {
    let refused = |way: &str| {
        Err(format!(
            "takes its keys by {way}, which is not supported: only aws_access_key_id with aws_secret_access_key are; \
             `eval \"$(aws configure export-credentials --format env)\"` puts what it stands for into the environment"
        ))
    };
    // Keys beside a role are those that it is asked for with.
    if settings.contains_key(ROLE) {
        return refused(ROLE);
    }
    let get = |key: &str| settings.get(key).filter(|value| !value.is_empty()).cloned();
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(key_id), Some(secret_key)) => Ok(Some(AwsCredential {
            key_id,
            secret_key,
            token: get("aws_session_token"),
        })),
        (Some(_), None) => Err("has aws_access_key_id without aws_secret_access_key".into()),
        (None, Some(_)) => Err("has aws_secret_access_key without aws_access_key_id".into()),
        (None, None) => match WAYS.iter().find(|way| settings.contains_key(**way)) {
            Some(way) => refused(way),
            None => Ok(None),
        },
    }
}

/// The profiles of a file; none where there is no file. `profile` tells the profile that a section is of, if it is one. What `is_asked_for`
/// the environment names, or a profile that is to be in it.
fn read(file: &Path, is_asked_for: bool, profile: Names) -> Result<Profiles, String> {
    let fault = |what: String| format!("{}: {what}", file.display());
    // Nothing is waited for: a pipe would hold up the start.
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() => {}
        // So Amazon's tools are told to read none.
        Ok(_) if file == Path::new("/dev/null") => return Ok(Profiles::new()),
        Ok(_) => return Err(fault("expected a file".into())),
        Err(error) if is_missing(error.kind(), is_asked_for) => return Ok(Profiles::new()),
        Err(error) => return Err(fault(error.to_string())),
    }
    let (mut text, opened) = (String::new(), std::fs::File::open(file));
    let read = opened.and_then(|opened| opened.take(LARGEST + 1).read_to_string(&mut text));
    read.map_err(|error| fault(error.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(fault(format!("it is larger than {LARGEST} bytes")));
    }
    profiles(&text, profile).map_err(fault)
}

/// Whether no file is there, by what looking for it came to.
fn is_missing(fault: ErrorKind, is_asked_for: bool) -> bool {
    match fault {
        // A service's user may have something for a home that is no directory,
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        // or another user's, into which it may not look.
        ErrorKind::PermissionDenied => !is_asked_for,
        _ => false,
    }
}

/// Which profile a section's heading names, if it names one.
type Names = fn(&str) -> Option<&str>;

fn of_keys(heading: &str) -> Option<&str> {
    Some(heading)
}

fn of_config(heading: &str) -> Option<&str> {
    let named = || {
        heading
            .strip_prefix("profile")
            .filter(|rest| rest.starts_with([' ', '\t']))
    };
    match heading {
        "default" => Some(heading),
        _ => named(),
    }
}

/// The settings of each profile. Of a profile that comes twice, as of a setting that does, the later counts.
fn profiles(text: &str, profile: Names) -> Result<Profiles, String> {
    let mut profiles = Profiles::new();
    let mut current = None;
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let fault = |expected: &str| format!("line {number}: expected {expected}");
        // An indented line belongs to a setting that has settings of its own; none of those is asked for.
        if line.starts_with([' ', '\t', '#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            let (heading, _) = heading
                .split_once(']')
                .ok_or_else(|| fault("a ] behind the name"))?;
            current = profile(heading.trim()).map(|name| name.trim().trim_matches(['"', '\'']).to_owned());
            if let Some(name) = &current {
                profiles.entry(name.clone()).or_default();
            }
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| fault("a setting: name = value"))?;
        if let Some(settings) = current.as_ref().and_then(|name| profiles.get_mut(name)) {
            settings.insert(key.trim().to_ascii_lowercase(), uncommented(value).to_owned());
        }
    }
    Ok(profiles)
}

/// A value without a comment behind it, which begins behind a space: keys may hold any of the signs.
fn uncommented(value: &str) -> &str {
    let comment = [" #", " ;", "\t#", "\t;"]
        .iter()
        .filter_map(|sign| value.find(sign))
        .min();
    value[..comment.unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    // What no message may repeat has a sign that names of temporary directories have not.
    const KEYS: &str = "\u{feff}# of a test\r\n[default]\r\naws_access_key_id = ID0\r\naws_secret_access_key=S0/x+=#y ; mine\r\n\
        [work]\nAWS_ACCESS_KEY_ID=ID1\naws_secret_access_key=S1\naws_session_token = T1 # until noon\ns3 =\n  region = nested\n\
        [half]\naws_access_key_id = ID-2\n[bare]\n[work]\naws_secret_access_key=S2\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile work]\nregion = eu-north-1\n[profile \"spaced name\"]\n\
        aws_access_key_id=ID3\naws_secret_access_key=S3\n[profile sso]\nsso_session = corp\n[sso-session corp]\nsso_region = x\n\
        [profile process]\ncredential_process = /bin/echo S-4\n[bare]\naws_access_key_id = not a profile\n[profile role]\nrole_arn=S-5\n\
        [profile base]\nrole_arn=S-6\nsource_profile=base\naws_access_key_id=ID-4\naws_secret_access_key=S-7\n";

    struct Home(tempfile::TempDir);

    impl Home {
        fn with(keys: &str, config: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir(home.path().join(".aws")).unwrap();
            std::fs::write(home.path().join(".aws/credentials"), keys).unwrap();
            std::fs::write(home.path().join(".aws/config"), config).unwrap();
            Self(home)
        }

        fn find(&self, more: &[(&str, &str)]) -> Result<Profile, String> {
            let home = self.0.path().display().to_string();
            find(&|name| {
                let of = |(key, value): &(&str, &str)| (*key == name).then(|| (*value).to_owned());
                more.iter()
                    .find_map(of)
                    .or_else(|| (name == "HOME").then(|| home.clone()))
            })
        }

        fn keys(&self, name: &str) -> Option<(String, String, Option<String>, Option<String>)> {
            let found = self.find(&[("AWS_PROFILE", name)]).unwrap();
            let keys = found.keys?;
            Some((keys.key_id, keys.secret_key, keys.token, found.region))
        }

        fn refusal(&self, more: &[(&str, &str)]) -> String {
            self.find(more).err().unwrap()
        }
    }

    #[test]
    fn a_profile_is_read_from_both_files_as_amazons_tools_do() {
        let home = Home::with(KEYS, CONFIG);
        let some = |text: &str| Some(text.to_owned());
        let expected = |id: &str, secret: &str, token: Option<&str>, region: Option<&str>| {
            Some((
                id.into(),
                secret.into(),
                token.map(str::to_owned),
                region.map(str::to_owned),
            ))
        };
        assert_eq!(
            home.keys("default"),
            expected("ID0", "S0/x+=#y", None, Some("eu-west-1"))
        );
        assert_eq!(
            home.keys("work"),
            expected("ID1", "S2", Some("T1"), Some("eu-north-1"))
        );
        assert_eq!(home.keys("spaced name"), expected("ID3", "S3", None, None));
        let unnamed = home.find(&[]).unwrap();
        assert_eq!(
            (unnamed.keys.map(|keys| keys.key_id), unnamed.region),
            (some("ID0"), some("eu-west-1"))
        );
        let elsewhere = home.0.path().join("mine");
        std::fs::write(
            &elsewhere,
            "[default]\naws_access_key_id=ID9\naws_secret_access_key=S9\n",
        )
        .unwrap();
        let found = home
            .find(&[("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap())])
            .unwrap();
        assert_eq!(found.keys.unwrap().key_id, "ID9");
        assert!(found.place.contains("mine"), "{}", found.place);
    }

    #[test]
    fn who_has_no_profile_has_none_and_one_that_was_asked_for_must_be_there_with_keys() {
        let home = Home::with("[other]\n", "[default]\nregion = eu-west-1\n");
        let found = home.find(&[]).unwrap();
        assert!(found.keys.is_none() && found.region.is_some());
        let nowhere = find(&|_| None).unwrap();
        assert!(nowhere.keys.is_none() && nowhere.region.is_none());
        let null = Some("/dev/null".to_owned());
        let nowhere = find(&|name| null.clone().filter(|_| name != "AWS_PROFILE")).unwrap();
        assert!(nowhere.keys.is_none() && nowhere.region.is_none());
        let homeless = find(&|name| null.clone().filter(|_| name == "HOME")).unwrap();
        assert!(homeless.keys.is_none() && homeless.region.is_none());
        let refusal = find(&|name| (name == "AWS_PROFILE").then(|| "work".to_owned()));
        let expected = "there is no such thing as the profile \"work\" of ~/.aws/credentials (HOME is not set) and ~/.aws/config (HOME \
            is not set) (AWS_PROFILE)";
        assert_eq!(refusal.err().as_deref(), Some(expected));
        assert!(
            is_missing(ErrorKind::PermissionDenied, false) && !is_missing(ErrorKind::PermissionDenied, true)
        );
        let home = Home::with("[default]\nregion =\n", "");
        assert_eq!(home.find(&[]).unwrap().region, None);
        let home = Home::with(KEYS, CONFIG);
        for (name, told) in [
            ("gone", "\"gone\""),
            ("bare", "aws_secret_access_key"),
            ("corp", "\"corp\""),
        ] {
            let refusal = home.refusal(&[("AWS_PROFILE", name)]);
            assert!(
                refusal.contains(told) && refusal.contains(".aws/credentials"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_is_not_supported_is_named_with_a_remedy_and_nothing_of_a_file_is_repeated() {
        let home = Home::with(KEYS, CONFIG);
        for (name, told) in [
            ("half", "without aws_secret_access_key"),
            ("sso", "sso_session"),
            ("process", "credential_process"),
            ("role", "role_arn"),
            ("base", "role_arn"),
        ] {
            let refusal = home.refusal(&[("AWS_PROFILE", name)]);
            assert!(refusal.contains(told) && refusal.contains(name), "{refusal}");
            assert!(
                name == "half" || refusal.contains("aws configure export-credentials"),
                "{refusal}"
            );
            assert!(
                !["ID-2", "ID-4", "S-4", "S-5", "S-6", "S-7"]
                    .iter()
                    .any(|value| refusal.contains(value)),
                "{refusal}"
            );
        }
        let unnamed = Home::with("", "[default]\nsso_start_url = https://corp\n");
        assert!(unnamed.refusal(&[]).contains("sso_start_url"));
    }

    #[test]
    fn a_file_that_is_none_of_amazons_is_refused_by_line_without_what_stands_there() {
        for (text, told) in [
            ("[default]\nS3CRET\n", "line 2: expected a setting"),
            ("\n[S3CRET\n", "line 2: expected a ]"),
        ] {
            let refusal = Home::with(text, "").refusal(&[]);
            assert!(
                refusal.contains(told) && refusal.contains(".aws/credentials"),
                "{refusal}"
            );
            assert!(!refusal.contains("S3CRET"), "{refusal}");
        }
        let large = "#".repeat(LARGEST as usize + 1);
        assert!(
            Home::with("", &large)
                .refusal(&[])
                .contains("larger than 1048576 bytes")
        );
        let home = Home::with("", "");
        std::fs::write(home.0.path().join(".aws/config"), b"[default]\n\xff\xfe").unwrap();
        assert!(home.refusal(&[]).contains(".aws/config"));
        let directory = home.0.path().to_str().unwrap();
        assert!(
            home.refusal(&[("AWS_CONFIG_FILE", directory)])
                .contains("expected a file")
        );
    }
}
