"""`cnn-jax report`: a page for runs that did not get to write theirs."""

from cnn_jax import cli


def test_a_page_for_any_run(digits_run, capsys):
    page = digits_run / "report.html"
    for missing in ("nothing", "result.json", "parameters/manifest.json"):
        (digits_run / missing).unlink(missing_ok=True)
        assert cli.main(["report", str(digits_run), "--no-cpu-kernels"]) == 0
        assert capsys.readouterr().out == f"wrote {page}\n"
        assert "Learning curves" in page.read_text(encoding="utf-8")
        page.unlink()


def test_no_run_no_page(digits_run, tmp_path, complaint):
    assert complaint("report", tmp_path, "--no-cpu-kernels", status=1) == (
        f"{tmp_path}: not a run folder; expected config.json in it"
    )
    (digits_run / "config.json").write_text("[]")
    assert complaint("report", digits_run, "--no-cpu-kernels", status=1) == (
        f"{digits_run / 'config.json'}: expected a run's configuration of format 'cnn_jax run 1'"
    )
    assert not (digits_run / "report.html").exists()
