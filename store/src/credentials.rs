//! Where a cloud's credentials come from, in words: what a refused request's error says. The values themselves are not read here, but for
//! those of Amazon's profiles (`profile.rs`), which the clients do not know.

#![expect(
    clippy::disallowed_methods,
    reason = "credentials are the environment's affair: no configuration that a run stores may hold them"
)]

mod profile;

use object_store::ObjectStoreScheme;
pub(crate) use profile::Profile;

/// The value of an environment variable that is no secret; `None` when it is not set.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Where the clients of a scheme take their credentials from: the first that the environment names, else the machine's.
pub(crate) fn source(scheme: &ObjectStoreScheme) -> &'static str {
    match scheme {
        ObjectStoreScheme::AmazonS3 => amazon(),
        ObjectStoreScheme::GoogleCloudStorage => google(),
        ObjectStoreScheme::MicrosoftAzure => azure(),
        _ => "",
    }
}

/// The profile that Amazon's clients are to be given: none where the environment says otherwise who asks.
///
/// # Errors
/// What is wrong with it or with its files.
pub(crate) fn amazon_profile() -> Result<Profile, String> {
    match amazon_keys() || amazon_web_identity() {
        true => Ok(Profile::default()),
        false => profile::find(&variable),
    }
}

/// Whether the environment has keys, or one that lacks the other.
fn amazon_keys() -> bool {
    is_set("AWS_ACCESS_KEY_ID") || is_set("AWS_SECRET_ACCESS_KEY")
}

fn amazon_web_identity() -> bool {
    is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN")
}

/// Whether a container's are asked for. Without a file for its token the client passes the whole URI over.
fn amazon_container() -> bool {
    is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI") && is_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
}

fn amazon() -> &'static str {
    if amazon_keys() {
        "credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    } else if amazon_web_identity() {
        "credentials: AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN"
    } else if amazon_container() {
        "credentials: the container's (AWS_CONTAINER_CREDENTIALS_...)"
    } else {
        "credentials: the environment has none (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or AWS_PROFILE) and ~/.aws no default profile with keys, so the \
         machine's instance role was asked for"
    }
}

fn google() -> &'static str {
    if is_set("GOOGLE_SERVICE_ACCOUNT") || is_set("GOOGLE_SERVICE_ACCOUNT_PATH") || is_set("SERVICE_ACCOUNT")
    {
        "credentials: the service account's file (GOOGLE_SERVICE_ACCOUNT)"
    } else if is_set("GOOGLE_SERVICE_ACCOUNT_KEY") {
        "credentials: GOOGLE_SERVICE_ACCOUNT_KEY"
    } else if is_set("GOOGLE_APPLICATION_CREDENTIALS") {
        "credentials: the file of GOOGLE_APPLICATION_CREDENTIALS"
    } else {
        "credentials: the environment has none (GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT), so gcloud's or the \
         machine's service account was asked for"
    }
}

fn azure() -> &'static str {
    let of_client = |secret: &[&str]| {
        let id = is_set("AZURE_CLIENT_ID") || is_set("AZURE_STORAGE_CLIENT_ID");
        let tenant = [
            "AZURE_TENANT_ID",
            "AZURE_STORAGE_TENANT_ID",
            "AZURE_AUTHORITY_ID",
            "AZURE_STORAGE_AUTHORITY_ID",
        ];
        id && tenant.into_iter().any(is_set) && secret.iter().any(|name| is_set(name))
    };
    if is_set("AZURE_STORAGE_USE_EMULATOR") {
        "credentials: the emulator's (AZURE_STORAGE_USE_EMULATOR)"
    } else if is_set("AZURE_STORAGE_TOKEN") {
        "credentials: AZURE_STORAGE_TOKEN"
    } else if is_set("AZURE_STORAGE_ACCOUNT_KEY") || is_set("AZURE_STORAGE_ACCESS_KEY") {
        "credentials: AZURE_STORAGE_ACCOUNT_KEY"
    } else if of_client(&["AZURE_FEDERATED_TOKEN_FILE"]) {
        "credentials: AZURE_FEDERATED_TOKEN_FILE with AZURE_CLIENT_ID and AZURE_TENANT_ID"
    } else if of_client(&["AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"]) {
        "credentials: AZURE_CLIENT_SECRET with AZURE_CLIENT_ID and AZURE_TENANT_ID"
    } else if is_set("AZURE_STORAGE_SAS_KEY") || is_set("AZURE_STORAGE_SAS_TOKEN") {
        "credentials: AZURE_STORAGE_SAS_KEY"
    } else if variable("AZURE_USE_AZURE_CLI").is_some_and(|value| value == "true") {
        "credentials: the Azure CLI's (AZURE_USE_AZURE_CLI)"
    } else {
        "credentials: the environment has none (AZURE_STORAGE_ACCOUNT_KEY, AZURE_CLIENT_ID and AZURE_TENANT_ID with \
         AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE, AZURE_STORAGE_SAS_KEY, or AZURE_USE_AZURE_CLI=true), so the machine's \
         managed identity was asked for"
    }
}
