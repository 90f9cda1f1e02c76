"""Others' clients, as they are published, against the server. Run by `cargo xtask test --all`."""

import json
import math
import os
import re
import subprocess
import urllib.request

import cohere
import openai
import pytest
from huggingface_hub import InferenceClient
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

QUESTION = "Name a colour of the rainbow."
ANSWERS = ["Violet, I think.", "Monday.", "Red.", "No idea, sorry about that."]


@pytest.fixture(scope="module", params=["parity/bert", "parity/llama_plain"])
def server(request):
    """A server of a small model: its address, and the scores of `rewardscope score`."""
    command = os.environ["REWARDSCOPE_COMMAND"]
    model = os.path.join(os.environ["REWARDSCOPE_FIXTURES"], request.param)
    arguments = [command, "api", "--device", "cpu", "--port", "0", "--model", model, "--served-model-name", "rm"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    address = None
    for line in process.stderr:
        if found := re.search(r"listening at (http://[^,]+)", line):
            address = found.group(1)
            break
    assert address, "the server did not start"
    row = json.dumps({"prompt": QUESTION, "completions": ANSWERS})
    score = [command, "score", "--device", "cpu", "--model", model, "--input", "-", "--output", "-"]
    done = subprocess.run(score, input=row, capture_output=True, text=True, check=True)
    yield address, json.loads(done.stdout)["scores"]
    process.terminate()
    assert process.wait(60) == 0


def ranked(scores):
    """The places of the scores, best first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place])


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


def test_cohere_reranks(server):
    address, scores = server
    client = cohere.ClientV2(api_key="none", base_url=address)
    found = client.rerank(model="rm", query=QUESTION, documents=ANSWERS, top_n=3)
    assert [result.index for result in found.results] == ranked(scores)[:3]
    for result in found.results:
        assert result.relevance_score == pytest.approx(sigmoid(scores[result.index]), rel=1e-5)


def test_langchain_reranks(server):
    address, scores = server
    reranker = CohereRerank(model="rm", cohere_api_key="none", base_url=address, top_n=2)
    documents = [Document(page_content=answer) for answer in ANSWERS]
    found = reranker.compress_documents(documents, QUESTION)
    assert [document.page_content for document in found] == [ANSWERS[place] for place in ranked(scores)[:2]]


def test_hugging_face_predicts(server):
    address, _ = server
    found = InferenceClient(model=address).text_classification("Why?")
    body = json.dumps({"inputs": "Why?"}).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    expected = json.load(urllib.request.urlopen(request))
    assert [one.label for one in found] == [one["label"] for one in expected]
    assert [one.score for one in found] == [pytest.approx(one["score"], rel=1e-5) for one in expected]


def test_openai_reads_a_reward(server):
    address, scores = server
    client = openai.OpenAI(api_key="none", base_url=f"{address}/v1", max_retries=0)
    assert [model.id for model in client.models.list()] == ["rm"]
    for answer, score in zip(ANSWERS, scores):
        messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]
        found = client.chat.completions.create(model="rm", messages=messages)
        # As NeMo Curator's `query_reward_model` does.
        rewards = {token.token: token.logprob for token in found.choices[0].logprobs.content}
        assert rewards["reward"] == pytest.approx(score, rel=1e-5)
    embedded = client.embeddings.create(model="rm", input="Why?", encoding_format="float")
    assert len(embedded.data[0].embedding) == 1
    with pytest.raises(openai.UnprocessableEntityError, match="rm was expected"):
        client.chat.completions.create(model="other", messages=[{"role": "assistant", "content": "a"}])
