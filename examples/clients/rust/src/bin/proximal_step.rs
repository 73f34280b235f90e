//! The L1 norm's proximal step of a file of float32:
//!
//!     proximal_step TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, mem};

use proximal_step::schema::regularization::v1::{
    regularizer, DataType, L1Norm, ParameterLayout, ProximalStepHeader, Regularizer, Segment,
};
use proximal_step::{Channel, Step};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.len() < 5 {
        eprintln!("usage: proximal_step TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]");
        return ExitCode::from(2);
    }
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (strength, step_size) = (arguments[3].parse()?, arguments[4].parse()?);
    let seconds: u32 = arguments.get(5).map_or(Ok(60), |text| text.parse())?;
    let parameters = fs::read(&arguments[1])?;
    let element_size = mem::size_of::<f32>();
    let l1_norm = regularizer::Kind::L1Norm(L1Norm { strength: Some(strength) });
    let segment = Segment {
        name: "weights".into(),
        shape: vec![i64::try_from(parameters.len() / element_size)?],
        regularizer: Some(Regularizer { kind: Some(l1_norm) }),
        ..Segment::default()
    };
    let mut layout = ParameterLayout { segments: vec![segment], ..ParameterLayout::default() };
    layout.set_data_type(DataType::Float32);
    let header =
        ProximalStepHeader { layout: Some(layout), step_size: Some(step_size), ..ProximalStepHeader::default() };
    let step = Step { header, element_size, parameters: parameters.into() };

    let mut channel = Channel::new(&arguments[0]);
    let begin = Instant::now();
    let taken = step.take(&mut channel, begin + Duration::from_secs(seconds.into())).await?;
    let took = begin.elapsed().as_secs_f64();
    let total = taken.summary.total.ok_or("the summary has no total")?;
    let penalty = total.penalty.ok_or("the summary has no penalty")?;
    println!("penalty  {}", penalty.value);
    println!("nonzeros {} of {}", total.nonzeros.unwrap_or_default(), total.elements);
    println!("speed    {:.0} MiB/s", taken.parameters.len() as f64 / f64::from(1 << 20) / took);
    Ok(fs::write(&arguments[2], taken.parameters)?)
}
