"""OrderFlow in Airflow 3: every hour what is in the topic is stored and proven; every day the quarantine is reported.

Put this file into Airflow's folder of DAGs. The tasks run the `orderflow` command: have it on the PATH of Airflow's
workers, from a virtual environment of its own, since the two need different versions of packages. Its settings
(KAFKA_BOOTSTRAP_SERVERS, MYSQL_HOST, MYSQL_PASSWORD_FILE and so on) belong in the workers' environment.

Alerts and reports are sent to the URL in Airflow's variable `orderflow_alert_url`, as {"text": …}, which Slack,
Mattermost and others take. Without it they stand in the log.
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


# No retries: the sink waits for Kafka and MySQL by itself, and what it ends for, only a person can mend.
defaults: dict[str, Any] = {"retries": 0, "on_failure_callback": alert, "execution_timeout": timedelta(minutes=50)}

with DAG("orderflow_store", schedule="@hourly", catchup=False, max_active_runs=1, default_args=defaults):
    sink = BashOperator(task_id="sink", bash_command="orderflow sink --once --log-format json")
    # Exit code 1: the audit found a difference, and lists it in the log. 2: it could not look.
    audit = BashOperator(task_id="audit", bash_command="orderflow audit --log-format json")
    sink >> audit


with DAG("orderflow_quarantine", schedule="@daily", catchup=False, max_active_runs=1, default_args=defaults):

    @task
    def report(dag_run: Any = None) -> dict[str, int]:
        """Tell what was quarantined on the day before the run, in UTC, by reason, and is still open."""
        until = (dag_run.logical_date or dag_run.run_after).date()
        since = until - timedelta(days=1)
        command = ["orderflow", "quarantine", "list", "--since", str(since), "--until", str(until), "--json"]
        listed = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        reasons = Counter(json.loads(line)["reason"] for line in listed.stdout.splitlines())
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing"
        send(f"Quarantined on {since} and open: {told}.")
        return dict(reasons)

    report()
