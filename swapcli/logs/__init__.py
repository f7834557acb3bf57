"""What the server and its models write: kept for who asks later, printed, and told to who listens."""

from .server_logs import ServerLogs as ServerLogs, Source as Source, open_server_logs as open_server_logs
