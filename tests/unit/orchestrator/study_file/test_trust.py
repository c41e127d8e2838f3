"""What a study file may do without `--trust-study`: every option of the installed vLLM, code of models and tasks."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.jobs.submit import RunOptions, run_command
from orchestrator.jobs.upload import Upload
from orchestrator.study import Study
from orchestrator.study_file import trust
from orchestrator.study_file.engine_options import (
    ALLOWED,
    NEVER,
    OUR_ENGINE_OPTIONS,
    installed_options,
    installed_values,
)
from orchestrator.study_file.load import parse_spec
from studies.errors import StudyError
from tests.unit.orchestrator.planning.test_resolve import make_folder
from tests.unit.orchestrator.study_file.tiny_study import MODEL, MODELS, changed

ENGINE = (
    "this engine option can run Python, reach files or open connections; if you trust this study file with that, add "
    "--trust-study"
)

CLASSES = {
    "allowed": """
        all2all_backend attention_backend block_size cpu_offload_gb gpu_memory_utilization kv_cache_dtype
        kv_cache_memory_bytes linear_backend long_prefill_token_threshold mamba_block_size mamba_cache_dtype
        mamba_ssm_cache_dtype max_logprobs max_model_len max_num_active_seqs max_num_batched_tokens
        max_num_scheduled_tokens max_num_seqs max_parallel_loading_workers model_impl moe_backend
        num_gpu_blocks_override offload_group_size offload_num_in_group offload_prefetch_step
        safetensors_load_strategy safetensors_prefetch_block_size safetensors_prefetch_num_threads
    """,
    "never": """
        config_format distributed_executor_backend download_dir dtype enable_prefix_caching enforce_eager
        hf_config_path hf_token io_processor_plugin load_format logits_processors model
        model_loader_extra_config pipeline_parallel_size quantization revision tensor_parallel_size tokenizer
        tokenizer_mode tokenizer_revision trust_remote_code worker_cls worker_extension_cls
    """,
    "trusted": """
        _api_process_count _api_process_rank additional_config aggregate_engine_logging
        allow_deprecated_quantization allowed_local_media_path allowed_media_domains async_scheduling
        attention_config aux_output_config code_revision collect_detailed_traces compilation_config convert
        cp_kv_cache_interleave_size cpu_distributed_timeout_seconds cpu_offload_params cudagraph_capture_sizes
        cudagraph_metrics custom_histogram_buckets data_parallel_address data_parallel_backend
        data_parallel_external_lb data_parallel_hybrid_lb data_parallel_multi_port_external_lb
        data_parallel_rank data_parallel_rpc_port data_parallel_size data_parallel_size_local
        data_parallel_start_rank dbo_decode_token_threshold dbo_prefill_token_threshold dcp_comm_backend
        dcp_kv_cache_interleave_size dcp_q_replicate decode_context_parallel_size default_mm_loras device_ids
        diffusion_config disable_cascade_attn disable_chunked_mm_input disable_custom_all_reduce
        disable_hybrid_kv_cache_manager disable_log_stats disable_nccl_for_dp_synchronization
        disable_sliding_window distributed_timeout_seconds dp_sync_interval ec_manager_config ec_transfer_config
        elastic_ep_max_dp_size enable_batch_sharded_sampling enable_chunked_prefill enable_cumem_allocator
        enable_dbo enable_elastic_ep enable_ep_weight_filter enable_eplb enable_expert_parallel
        enable_fault_tolerance enable_flashinfer_autotune enable_hc_sp enable_layerwise_nvtx_tracing
        enable_logging_iteration_details enable_lora enable_mamba_cache_stochastic_rounding
        enable_mamba_shared_prefix_checkpoint enable_mfu_metrics enable_mixed_moe_lora_format enable_mm_embeds
        enable_mm_processor_stats enable_moe_shared_loras enable_nccl_comm_suspend enable_prompt_embeds
        enable_return_routed_experts enable_shm_tensor_arena enable_sleep_mode enable_tower_connector_lora
        enable_trace_replay engram_config eplb_config expert_placement_strategy fail_on_environ_validation
        fault_tolerance_config fully_sharded_loras gdn_prefill_backend generation_config hf_overrides
        ignore_patterns interleave_mm_strings ir_op_priority jit_monitor_mode jit_monitor_verbose
        kda_decode_backend kda_prefill_backend kernel_config kv_cache_dtype_skip_layers kv_cache_metrics
        kv_cache_metrics_sample kv_events_config kv_offloading_backend kv_offloading_size
        kv_sharing_fast_prefill kv_transfer_config language_model_only limit_mm_per_prompt log_config_file
        log_level logging_config logprobs_mode long_prefill_token_threshold_adaptive lora_dtype
        lora_target_modules mamba_backend mamba_cache_mode mamba_cache_philox_rounds mamba_config
        mamba_ssu_algorithm master_addr master_port max_cpu_loras max_cudagraph_capture_size max_lora_cls_labels
        max_lora_rank max_loras max_num_queued_reqs max_num_queued_tokens media_io_kwargs mm_device_do_normalize
        mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin
        mm_encoder_fp8_scale_save_path mm_encoder_only mm_encoder_tp_mode mm_hasher_algorithm
        mm_ipc_gpu_memory_gb mm_processor_cache_gb mm_processor_cache_type mm_processor_device
        mm_processor_kwargs mm_shm_cache_max_object_size_mb mm_tensor_ipc model_class_overrides model_weights
        nnodes node_rank numa_bind numa_bind_cpus numa_bind_nodes offload_backend offload_params
        optimization_level otlp_traces_endpoint override_generation_config per_request_spec_decode_metrics
        performance_mode pooler_config prefill_context_parallel_size prefill_schedule_interval
        prefix_cache_retention_interval prefix_caching_hash_algo prefix_match_unit profiler_config
        pt_load_map_location quantization_config ray_workers_use_nsight reasoning_config reasoning_parser
        reasoning_parser_plugin renderer_num_workers replayssm_buffer_len return_sampling_mask runner
        scheduler_cls scheduler_reserve_full_isl scheduling_policy seed served_model_name
        show_hidden_metrics_for_version shutdown_timeout skip_mm_profiling skip_tokenizer_init
        sleep_mode_offload_cudagraph sleep_preserve_parameter_names sparse_indexer_topk_backend spec_method
        spec_model spec_tokens specialize_active_lora speculative_config stream_interval
        structured_outputs_config swa_bounded_replay tokens_only ubatch_size use_fp64_gumbel use_replayssm
        use_tqdm_on_load video_pruning_method video_pruning_rate watermark watermark_config
        weight_transfer_config
    """,
}
"""{class: the options of vLLM 0.32 in it}."""


def told(option: str, value: str, *, trusted: bool = False) -> str:
    """What is said of a study file with this engine option; '' where it is accepted."""
    try:
        parse_spec(changed(MODEL, f"  - {{name: a, engine: {{{option}: {value}}}}}\n"), "f.yaml", trusted=trusted)
    except StudyError as error:
        return str(error)
    return ""


VALUES = {
    "all2all_backend": "naive",
    "attention_backend": "TRITON_ATTN",
    "safetensors_load_strategy": "lazy",
    **dict.fromkeys(("kv_cache_dtype", "linear_backend", "mamba_cache_dtype", "mamba_ssm_cache_dtype"), "auto"),
    **dict.fromkeys(("model_impl", "moe_backend"), "auto"),
}
"""{option: a value of its type}; 1 for the others."""


def test_every_option_of_the_installed_vllm_is_in_one_of_three_classes() -> None:
    """A name that a newer vLLM adds belongs to the trusted ones, until somebody has read what it does."""
    if not installed_options():
        pytest.skip("vLLM is not installed")
    classes: dict[str, list[str]] = {"allowed": [], "never": [], "trusted": []}
    for option in sorted(installed_options()):
        without, trusting = (told(option, VALUES.get(option, "1"), trusted=trusted) for trusted in (False, True))
        if without == trusting == "":
            classes["allowed"].append(option)
        elif without == trusting == f"f.yaml:3: models.0.engine.{option}: {NEVER.get(option)}":
            classes["never"].append(option)
        elif (without, trusting) == (f"f.yaml:3: models.0.engine.{option}: {ENGINE}", ""):
            classes["trusted"].append(option)
        else:
            pytest.fail(f"{option}: {without!r}, trusted: {trusting!r}")
    assert classes == {name: options.split() for name, options in CLASSES.items()}
    assert sorted(ALLOWED) == classes["allowed"] and sorted(OUR_ENGINE_OPTIONS | {"hf_token"}) == classes["never"]


def test_the_options_that_are_read_from_the_source_are_those_of_the_imported_class() -> None:
    fields = "print(*(f.name for f in dataclasses.fields(EngineArgs)))"
    code = f"import dataclasses\nfrom vllm.engine.arg_utils import EngineArgs\n{fields}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "No module named 'vllm'" in done.stderr:
        pytest.skip("vLLM is not installed")
    assert set(done.stdout.splitlines()[-1].split()) == installed_options(), done.stderr


WRONG = {
    "max_num_seqs: many": "must be a whole number; found 'many'",
    "max_num_seqs: 0": "must be at least 1; found 0",
    "max_num_seqs: true": "must be a whole number; found true",
    "gpu_memory_utilization: 1.5": "must be at most 1; found 1.5",
    "moe_backend: [triton]": "must be text; found a list",
    "moe_backend: ../x": "use letters, digits, dots, dashes and underscores, at most 100; found '../x'",
    "safetensors_load_strategy: lasy": "'lasy' is not allowed; did you mean 'lazy'?",
    "attention_backend: my.module.Backend": "'my.module.Backend' is not allowed; allowed: "
    + ", ".join(sorted(installed_values("AttentionBackendEnum"))),
    "max_num_sqs: 4": "unknown key: the installed vLLM has no such engine option; did you mean 'max_num_seqs'?",
    "x: 4": "unknown key: the installed vLLM has no such engine option; `vllm serve --help` lists them",
}


@pytest.mark.skipif(not installed_options(), reason="vLLM is not installed")
@pytest.mark.parametrize(("option", "message"), WRONG.items(), ids=WRONG)
def test_types_and_names_hold_whoever_is_trusted(option: str, message: str) -> None:
    name, _, value = option.partition(": ")
    for trusted in (False, True):
        assert told(name, value, trusted=trusted) == f"f.yaml:3: models.0.engine.{name}: {message}"


def test_without_vllm_every_other_option_is_for_trusted_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "installed_options", frozenset)
    assert told("x", "4") == f"f.yaml:3: models.0.engine.x: {ENGINE}"
    assert told("x", "4", trusted=True) == told("max_num_seqs", "4") == ""


def test_a_backend_is_named_as_vllm_does_in_either_case() -> None:
    assert told("attention_backend", "triton_attn") == ""


NESTED = {
    "compilation_config": "{custom_ops: [x], backend: my.module}",
    "hf_overrides": "{architectures: [X]}",
    "additional_config": "{a: {b: [1, null, 2.5]}}",
}


@pytest.mark.parametrize(("option", "value"), NESTED.items(), ids=NESTED)
def test_options_with_a_configuration_of_their_own_are_for_trusted_studies(option: str, value: str) -> None:
    assert told(option, value) == f"f.yaml:3: models.0.engine.{option}: {ENGINE}"
    assert told(option, value, trusted=True) == ""


def test_every_place_that_needs_trust_is_named_and_the_rest_of_the_file_is_checked_too() -> None:
    text = changed(
        MODELS,
        "models:\n  - {name: a, trust_remote_code: true, engine: {scheduler_cls: my.Scheduler}}\n"
        "checkpoints: {of: org/m, revisions: [step0, step1], trust_remote_code: true, engine: {seed: 1}}\n",
    ).replace("claims: double", "  - lm_eval: {tasks: [x], trust_remote_code: true}\nclaims: treble")
    with pytest.raises(StudyError) as error:
        parse_spec(text, "f.yaml")
    remedy = "; if you trust this study file with that, add --trust-study"
    assert str(error.value).split("\n") == [
        f"f.yaml:3: models.0.trust_remote_code: runs the Python of the model's repository{remedy}",
        f"f.yaml:3: models.0.engine.scheduler_cls: {ENGINE}",
        f"f.yaml:4: checkpoints.trust_remote_code: runs the Python of the model's repository{remedy}",
        f"f.yaml:4: checkpoints.engine.seed: {ENGINE}",
        f"f.yaml:13: evaluate.2.lm_eval.trust_remote_code: runs the Python of the tasks, here and now{remedy}",
        "f.yaml:14: claims: there is no claim set 'treble_dissociation'; did you mean 'double_dissociation'?",
    ]


@pytest.mark.parametrize("key", ["trust_study: true", "trusted: true", "trust: true"])
def test_a_file_cannot_trust_itself(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRUST_STUDY", "HALFWAVE_TRUST_STUDY", "HALFWAVE_TRUST"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(StudyError) as error:
        parse_spec(changed("study: tiny\n", f"study: tiny\n{key}\n"), "f.yaml")
    assert str(error.value).startswith(f"f.yaml:2: {key.partition(':')[0]}: unknown key")
    assert told("scheduler_cls", "x") == f"f.yaml:3: models.0.engine.scheduler_cls: {ENGINE}"


TASKS = """\
study: s
models:
  - {{path: ./a, engine: {{reasoning_parser_plugin: {root}/plugin.py}}, trust_remote_code: true}}
profile: {{corpus: embedded}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - lm_eval: {{tasks: [mine], include: {root}/tasks, trust_remote_code: true}}
"""


def test_nothing_of_an_untrusted_study_runs_when_it_is_opened(tmp_path: Path) -> None:
    make_folder(tmp_path / "a")
    tasks, marker = tmp_path / "tasks", tmp_path / "ran"
    tasks.mkdir()
    (tasks / "mine.yaml").write_text("task: mine\ndataset_path: !function code.path\n")
    (tasks / "code.py").write_text(f"open({str(marker)!r}, 'w')\n")
    (tmp_path / "s.yaml").write_text(TASKS.format(root=tmp_path))
    with pytest.raises(StudyError) as error:
        Study.open(tmp_path / "s.yaml", workdir=tmp_path / "work")
    assert [line.split(": ")[1] for line in str(error.value).split("\n")] == [
        "models.0.trust_remote_code",
        "models.0.engine.reasoning_parser_plugin",
        "evaluate.0.lm_eval.trust_remote_code",
    ]
    assert not marker.exists()


@pytest.mark.parametrize(("trusted", "words"), [(False, ""), (True, " --trust-study")])
def test_a_job_is_trusted_as_its_user_trusts_the_study(trusted: bool, words: str) -> None:
    upload = Upload(Path("/p"), (Path("s.yaml"),), Path("s.yaml"))
    assert run_command(upload, RunOptions(trusted=trusted)) == f"exec halfwave run s.yaml --address auto{words}"
