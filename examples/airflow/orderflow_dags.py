"""OrderFlow in Airflow 3: store and audit the topic's records every hour, and report the quarantine every day.

Put this file into Airflow's DAGs folder. The tasks run the `orderflow` command, which must be on the PATH of Airflow's
workers. Install it in a separate virtual environment, because the two need different package versions. Its settings
(KAFKA_BOOTSTRAP_SERVERS, MYSQL_HOST, MYSQL_PASSWORD_FILE and so on) belong in the workers' environment.

Alerts and reports are sent to the URL in Airflow's variable `orderflow_alert_url` as {"text": …}, which Slack,
Mattermost and others accept. Without the variable, they are only logged.
"""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.request
from collections import Counter
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Context, Variable, task

log = logging.getLogger(__name__)


def send(text: str) -> None:
    log.warning("%s", text)
    if url := Variable.get("orderflow_alert_url", default=None):
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


def alert(context: Context) -> None:
    failed = context["task_instance"]
    send(f"{failed.dag_id}, {failed.task_id} failed: {context.get('exception')} Its log: {failed.log_url}")


# No retries: the sink itself waits for Kafka and MySQL, and only a person can fix the errors for which it exits.
defaults: dict[str, Any] = {"retries": 0, "on_failure_callback": alert, "execution_timeout": timedelta(minutes=50)}

with DAG("orderflow_store", schedule="@hourly", catchup=False, max_active_runs=1, default_args=defaults):
    sink = BashOperator(task_id="sink", bash_command="orderflow sink --once --log-format json")
    # Exit code 1: the audit found differences and lists them in the log. Exit code 2: it could not run.
    audit = BashOperator(task_id="audit", bash_command="orderflow audit --log-format json")
    sink >> audit


with DAG("orderflow_quarantine", schedule="@daily", catchup=False, max_active_runs=1, default_args=defaults):

    @task
    def report(dag_run: Any = None) -> dict[str, int]:
        """Report by reason what was quarantined on the day before the run (UTC) and is still open."""
        until = (dag_run.logical_date or dag_run.run_after).date()
        since = until - timedelta(days=1)
        command = ["orderflow", "quarantine", "list", "--since", str(since), "--until", str(until), "--json"]
        listed = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        reasons = Counter(json.loads(line)["reason"] for line in listed.stdout.splitlines())
        summary = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing"
        send(f"Quarantined on {since} and open: {summary}.")
        return dict(reasons)

    report()
