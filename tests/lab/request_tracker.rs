//! A real Request Tracker 5 on SQLite, with one queue and Houston's account in it.

use std::process::Command;

use base64::Engine as _;
use serde_json::Value;

use super::{Server, free_port, get_with, place, program};

/// A running Request Tracker; `root` may do everything, `houston` works on the queue `Support`.
#[derive(Debug)]
pub struct RequestTracker {
    pub port: u16,
    /// Houston's authentication token.
    pub token: String,
    pub server: Server,
}

const DATA: &str = r"
@Queues = ({ Name => 'Support', CorrespondAddress => 'support@lab.test', CommentAddress => 'comment@lab.test' },
           { Name => 'Sales' });
@Users = ({ Name => 'houston', Password => 'houston-pw-1', Privileged => 1, EmailAddress => 'houston@lab.test' });
@CustomFields = map { { Name => $_, Type => 'FreeformSingle', LookupType => 'RT::Queue-RT::Ticket',
                        ApplyTo => ['Support', 'Sales'] } } ('Houston verdict', 'Customer');
@ACL = map { { UserId => 'houston', Right => $_ } } qw(SeeQueue ShowTicket ShowTicketComments CommentOnTicket
    ReplyToTicket ModifyTicket SeeCustomField ModifyCustomField);
@Final = (sub {
    my $user = RT::CurrentUser->new(RT->SystemUser);
    $user->Load('houston');
    my $token = RT::AuthToken->new(RT->SystemUser);
    my ($ok, $said, $secret) = $token->Create(Owner => $user->Id, Description => 'houston');
    die $said unless $ok;
    open my $file, '>', 'PLACE/token' or die;
    print $file $secret;
    close $file;
});
";

impl RequestTracker {
    pub fn start() -> RequestTracker {
        let place = place::new();
        let directory = place.path().to_str().unwrap().to_owned();
        for below in ["conf.d", "mason", "sessions", "var"] {
            std::fs::create_dir(place.path().join(below)).unwrap();
        }
        let port = free_port();
        let config = format!(
            "Set($rtname, 'lab');\nSet($WebDomain, '127.0.0.1');\nSet($WebPort, {port});\n\
             Set($WebBaseURL, 'http://127.0.0.1:{port}');\nSet($DatabaseType, 'SQLite');\n\
             Set($DatabaseName, '{directory}/rt.sqlite');\nSet($MailCommand, 'testfile');\nSet($LogToSyslog, undef);\n\
             Set($LogToSTDERR, 'error');\nSet($Timezone, 'Asia/Kolkata');\n\
             $RT::MasonDataDir = '{directory}/mason';\n$RT::MasonSessionDir = '{directory}/sessions';\n\
             $RT::VarPath = '{directory}/var';\n1;\n"
        );
        let (site, data) = (format!("{directory}/RT_SiteConfig.pm"), format!("{directory}/lab.initialdata"));
        std::fs::write(&site, config).unwrap();
        std::fs::write(&data, DATA.replace("PLACE", &directory)).unwrap();
        let settings = [format!("RT_SITE_CONFIG={site}"), format!("RT_SITE_CONFIG_DIR={directory}/conf.d")];
        for action in [vec!["--action", "init"], vec!["--action", "insert", "--datafile", &data]] {
            let mut setup = Command::new(program("env"));
            setup.args(&settings).arg("rt-setup-database-5").args(action).arg("--skip-create");
            let output = setup.current_dir(place.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let token = std::fs::read_to_string(place.path().join("token")).expect("its account has a token");
        let [site, conf] = settings;
        let port_text = port.to_string();
        let program = "/usr/share/request-tracker5/libexec/rt-server";
        let server = ["--server", "Starlet", "--max-workers", "2", "--host", "127.0.0.1", "--port", &port_text];
        let arguments = [site.as_str(), conf.as_str(), program].into_iter().chain(server);
        let ready = || get_with(port, "/REST/2.0/rt", &[&authorization()]).is_some_and(|(status, _)| status == 200);
        RequestTracker { port, token, server: Server::start("env", place, arguments, ready) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A request of `root`, by curl; the answer as JSON.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut curl = Command::new(program("curl"));
        curl.args(["-s", "-m", "30", "-X", method, "-H", &authorization(), "-H", "Content-Type: application/json"]);
        if !body.is_null() {
            curl.args(["-d", &body.to_string()]);
        }
        let output = curl.arg(format!("{}/REST/2.0/{path}", self.url())).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
    }
}

fn authorization() -> String {
    format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode("root:password"))
}
