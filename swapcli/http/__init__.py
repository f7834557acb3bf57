"""The HTTP side: a front that finds out who answers, a relay to the models, the server around both."""

from .active_profile import ActiveProfile as ActiveProfile
from .current_state import CurrentState as CurrentState, LogNews as LogNews
from .event_hub import EventHub as EventHub
from .event_messages import ActivityRecorded as ActivityRecorded, ConfigReload as ConfigReload
from .fleet_history import FleetHistory as FleetHistory
from .fleet_news import NEWS as NEWS, tell as tell
from .forward_proxy import ProxyEnvironment as ProxyEnvironment
from .front import Front as Front, create_app as create_app
from .hypercorn_glue import Drain as Drain, serve_http as serve_http
from .inflight_news import InflightNews as InflightNews
from .listening import bind as bind, url_of as url_of
from .live_answers import Live as Live
from .measurements import Measurements as Measurements
from .routes import ROUTES as ROUTES, Route as Route
from .server_limits import ServerLimits as ServerLimits
from .server_tls import CannotUseCertificate as CannotUseCertificate, ServerTls as ServerTls
from .ui_files import UiFiles as UiFiles
from .upstream_pool import UpstreamPool as UpstreamPool
